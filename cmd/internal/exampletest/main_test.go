package exampletest

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"testing"

	"vipd/cmd/internal/rig"
)

// envServe makes this binary the stand-in for a server, under whatever name it
// has been started. Its arguments are the address to listen on and a file: while
// that is there, it answers that it is not well.
const envServe = "EXAMPLETEST_SERVE"

func TestMain(m *testing.M) {
	if _, ok := os.LookupEnv(envServe); ok {
		fmt.Fprintln(os.Stderr, serve(os.Args[1], os.Args[2]))
		os.Exit(1)
	}
	rig.Main(m)
}

// serve answers requests for ever.
func serve(address, sick string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if _, err := os.Stat(sick); err == nil {
			http.Error(w, "not well", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "well")
	}))
}
