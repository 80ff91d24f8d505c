// Package corpus holds vipd's reading of keepalived.conf against keepalived's
// own: configurations from the field are given to both, and what keepalived says
// it runs is compared with the Config. It consists of tests.
package corpus
