package nstest

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestRun(t *testing.T) {
	for name, run := range map[string]func(*testing.T, func(*testing.T)){"net": Run, "user": RunUser} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T) {
				links, err := net.Interfaces()
				if err != nil || len(links) != 1 || links[0].Flags&net.FlagUp == 0 {
					t.Errorf("interfaces %v, %v, want lo alone, up", links, err)
				}
				if os.Geteuid() != 0 {
					t.Errorf("uid %d, want 0", os.Geteuid())
				}
				Addr(t, "lo", "198.18.1.1/24")
				Addr(t, "lo", "2001:db8::1/64")
				Route(t, "192.0.2.0/24", "198.18.1.2", "lo")
				out := Command(t, time.Minute, "ip", "route")
				if !strings.Contains(out, "192.0.2.0/24 via 198.18.1.2 dev lo") {
					t.Errorf("routes:\n%s", out)
				}
			})
		})
	}
}

// A test that fails in its namespace must fail outside. Only the copy of the test binary that the test starts itself runs it.
func TestRunFails(t *testing.T) {
	const only = "WEIR_NSTEST_FAIL"
	if os.Getenv(only) != "" {
		Run(t, func(t *testing.T) { t.Error("as it should") })
		return
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestRunFails$")
	cmd.Env = append(os.Environ(), only+"=1")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "as it should") {
		if strings.Contains(string(out), "no network namespace") {
			t.Skip("no network namespace")
		}
		t.Errorf("%v, output:\n%s", err, out)
	}
}
