package config

// The keywords of keepalived that are recognised in order to be refused in words
// that help.

// rootUnsupported lists keywords of the top level that this version does not have.
func rootUnsupported() []string {
	return []string{
		"track_group",
		"static_ipaddress",
		"static_routes",
		"static_rules",
		"bfd_instance",
		"garp_group",
		"interface_up_down_delays",
		"linkbeat_interfaces",
		"linkbeat_use_polling",
		"net_namespace",
		"namespace_with_ipsets",
		"instance",
		"use_pid_dir",
		"child_wait_time",
		"includer",
		"includem",
		"includew",
		"includeb",
		"includea",
	}
}

// rootLVS lists keywords of the top level that belong to LVS.
func rootLVS() []string {
	return []string{
		"virtual_server",
		"virtual_server_group",
		"SSL",
		"net_namespace_ipvs",
	}
}

// globalUnsupported lists keywords of global_defs that this version does not have.
func globalUnsupported() []string {
	return []string{
		"vrrp_strict",
		"vrrp_owner_ignore_adverts",
		"vrrp_garp_extra_if",
		"vrrp_delay_after_boot",
		"vrrp_iptables",
		"vrrp_ipsets",
		"nftables",
		"nftables_priority",
		"nftables_counters",
		"nftables_ifindex",
		"disable_local_igmp",
		"vmac_prefix",
		"vmac_addr_prefix",
		"vrrp_rlimit_rttime",
		"vrrp_cpu_affinity",
		"vrrp_no_swap",
		"max_auto_priority",
		"min_auto_priority_delay",
		"process_names",
		"process_name",
		"vrrp_process_name",
		"vrrp_netlink_cmd_rcv_bufs",
		"vrrp_netlink_cmd_rcv_bufs_force",
		"vrrp_netlink_monitor_rcv_bufs",
		"vrrp_netlink_monitor_rcv_bufs_force",
		"process_monitor_rcv_bufs",
		"process_monitor_rcv_bufs_force",
		"vrrp_rx_bufs_policy",
		"vrrp_rx_bufs_multiplier",
		"snmp_socket",
		"enable_snmp_vrrp",
		"enable_snmp_keepalived",
		"enable_snmp_rfc",
		"enable_snmp_rfcv2",
		"enable_snmp_rfcv3",
		"enable_traps",
		"enable_dbus",
		"dbus_service_name",
		"dbus_no_interface_name",
		"umask",
		"random_seed",
		"reload_check_config",
		"reload_time_file",
		"reload_repeat",
		"reload_file",
		"include_check",
		"config_save_dir",
		"tmp_config_directory",
		"data_use_instance",
		"iproute_usr_dir",
		"iproute_etc_dir",
	}
}

// globalLVS lists keywords of global_defs that belong to LVS.
func globalLVS() []string {
	return []string{
		"lvs_sync_daemon",
		"lvs_flush",
		"lvs_flush_on_stop",
		"lvs_timeouts",
		"lvs_netlink_cmd_rcv_bufs",
		"lvs_netlink_monitor_rcv_bufs",
		"lvs_notify_fifo",
		"lvs_notify_fifo_script",
		"checker_priority",
		"checker_rt_priority",
		"checker_no_swap",
		"checker_process_name",
		"checker_cpu_affinity",
		"checker_rlimit_rttime",
		"checker_log_all_failures",
		"bfd_process_name",
		"rs_init_notifies",
		"no_checker_emails",
		"smtp_alert_checker",
		"nftables_ipvs",
		"snmp_vs_stats_update_interval",
		"snmp_rs_stats_update_interval",
		"enable_snmp_checker",
	}
}

// instanceUnsupported lists keywords of vrrp_instance that this version does not
// have.
func instanceUnsupported() []string {
	return []string{
		"strict_mode",
		"no_accept",
		"use_vmac",
		"use_vmac_addr",
		"vmac_xmit_base",
		"use_ipvlan",
		"vmac_garp_intvl",
		"garp_extra_if",
		"owner_ignore_adverts",
		"auth_hmac",
		"virtual_routes",
		"virtual_rules",
		"track_bfd",
		"unicast_fault_no_peer",
		"old_unicast_checksum",
		"vrf",
		"timer_expired_backup",
		"thread_timer_expired",
		"promote_secondaries",
		"linkbeat_use_polling",
		"kernel_rx_buf_size",
		"debug",
	}
}

// instanceLVS lists keywords of vrrp_instance that belong to LVS.
func instanceLVS() []string {
	return []string{
		"lvs_sync_daemon_interface",
	}
}

// groupUnsupported lists keywords of vrrp_sync_group that this version does not
// have.
func groupUnsupported() []string {
	return []string{
		"track_bfd",
	}
}
