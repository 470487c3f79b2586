package main

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/weirnet/weir/internal/nstest"
)

// outside is an address of the "host" that the scripts run on: a network namespace of the test's own.
const outside = "192.0.2.1"

// TestRun runs the scripts of `weir run` on a host that the test makes.
func TestRun(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		nstest.TUN(t)
		nstest.Addr(t, "lo", outside+"/32")
		nstest.Addr(t, "lo", "2001:db8::1/128")
		serveHTTP(t)
		testscript.Run(t, testscript.Params{
			Dir:       "testdata/run",
			Cmds:      map[string]func(*testscript.TestScript, bool, []string){"listening": listening},
			Condition: missing,
		})
	})
}

// serveHTTP is a web server on the host, at port 8000, that says hello.
func serveHTTP(t *testing.T) {
	for _, at := range []string{outside, "2001:db8::1"} {
		l, err := net.Listen("tcp", netip.AddrPortFrom(netip.MustParseAddr(at), 8000).String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			host, _, _ := net.SplitHostPort(r.RemoteAddr)
			fmt.Fprintf(w, "hello %s\n", host)
		}))
	}
}

// missing is the condition [missing:program]: the program is not here. If WEIR_REQUIRE lists it, that is an error.
func missing(condition string) (bool, error) {
	name, ok := strings.CutPrefix(condition, "missing:")
	if !ok {
		return false, fmt.Errorf("unknown condition %q", condition)
	}
	_, err := exec.LookPath(name)
	if err != nil && slices.Contains(strings.Split(os.Getenv("WEIR_REQUIRE"), ","), name) {
		return false, err
	}
	return err != nil, nil
}

// listening waits until somebody listens on a TCP port of the host, without connecting to it.
func listening(ts *testscript.TestScript, _ bool, args []string) {
	var port int
	if len(args) != 1 {
		ts.Fatalf("usage: listening port")
	}
	if _, err := fmt.Sscan(args[0], &port); err != nil {
		ts.Fatalf("listening %s: %v", args[0], err)
	}
	want := fmt.Sprintf(":%04X ", port)
	for limit := time.Now().Add(20 * time.Second); time.Now().Before(limit); {
		for _, file := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
			b, err := os.ReadFile(file)
			ts.Check(err)
			for line := range strings.Lines(string(b)) {
				if f := strings.Fields(line); len(f) > 3 && strings.HasSuffix(f[1]+" ", want) && f[3] == "0A" {
					return
				}
			}
		}
	}
	ts.Fatalf("nobody listens on port %s", args[0])
}
