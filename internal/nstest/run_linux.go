package nstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inside is the environment variable by which the process in the namespace knows which test it is there for.
const inside = "WEIR_NSTEST"

// require is the environment variable that lists what tests may not be skipped for want of, with commas between: "tun,iperf3".
const require = "WEIR_REQUIRE"

// bound is the longest that a test in a namespace may take when the test binary itself has no time limit.
const bound = 5 * time.Minute

// Run runs fn in a new network namespace with loopback up: it executes the test binary again for this test alone. Root gets a network
// namespace only, others a user namespace round it in which they are root. Where that is not permitted the test is skipped, or fails if
// WEIR_REQUIRE lists "tun". Statements of the test in front of Run are executed in both processes, those behind it in both too.
func Run(t *testing.T, fn func(t *testing.T)) {
	t.Helper()
	run(t, os.Geteuid() != 0, fn)
}

// RunUser is Run with a user namespace in any case, and a mount namespace: fn is root there and nobody outside, and what it mounts the
// host does not see.
func RunUser(t *testing.T, fn func(t *testing.T)) {
	t.Helper()
	run(t, true, fn)
}

func run(t *testing.T, user bool, fn func(t *testing.T)) {
	t.Helper()
	if os.Getenv(inside) == t.Name() {
		Up(t, "lo")
		fn(t)
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), remaining(t))
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", arguments(t)...)
	cmd.Env = append(os.Environ(), inside+"="+t.Name())
	if os.Getenv("GORACE") == "" {
		cmd.Env = append(cmd.Env, "GORACE=atexit_sleep_ms=0") // else the race detector sleeps for a second at the end
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if user {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		Missing(t, "tun", fmt.Sprintf("no network namespace: %v", err))
	}
	report(t, cmd.Wait(), out.String())
}

// report makes the outcome of the process in the namespace that of t.
func report(t *testing.T, err error, out string) {
	t.Helper()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		t.Fatalf("in its namespace: %v\n%s", err, out)
	case err != nil:
		t.Fatalf("running it in a namespace: %v\n%s", err, out)
	case strings.Contains(out, "--- SKIP: "+t.Name()+" ("):
		t.Skipf("in its namespace:\n%s", out)
	case !strings.Contains(out, "--- PASS: "+t.Name()+" ("):
		t.Fatalf("the process in the namespace did not run the test:\n%s", out)
	case testing.Verbose():
		t.Logf("in its namespace:\n%s", out)
	}
}

// arguments are those of the test binary for this test alone.
func arguments(t *testing.T) []string {
	names := strings.Split(t.Name(), "/")
	for i, n := range names {
		names[i] = "^" + regexp.QuoteMeta(n) + "$"
	}
	return []string{
		"-test.run=" + strings.Join(names, "/"), "-test.v", "-test.count=1", fmt.Sprintf("-test.timeout=%v", remaining(t)),
		fmt.Sprintf("-test.short=%v", testing.Short()),
	}
}

// remaining is how long t may still take, less the time to say that it took too long.
func remaining(t *testing.T) time.Duration {
	deadline, ok := t.Deadline()
	if !ok {
		return bound
	}
	left := time.Until(deadline)
	return left - min(left/10, 5*time.Second)
}

// Inside says whether this process is in a namespace that Run made.
func Inside() bool { return os.Getenv(inside) != "" }

// Missing skips the test for want of what (a word: "tun", "iperf3"), or fails it if WEIR_REQUIRE lists that.
func Missing(t testing.TB, what, why string) {
	t.Helper()
	for _, w := range strings.Split(os.Getenv(require), ",") {
		if strings.TrimSpace(w) == what {
			t.Fatalf("%s (%s requires %s)", why, require, what)
		}
	}
	t.Skip(why)
}

// TUN skips the test, or fails it, if /dev/net/tun cannot be opened.
func TUN(t testing.TB) {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		Missing(t, "tun", fmt.Sprintf("/dev/net/tun: %v", err))
	}
	unix.Close(fd)
}

// Command runs a program, at most for the given time, and returns what it wrote to standard output. The test is skipped (see Missing) if
// there is no such program, and fails if the program does.
func Command(t testing.TB, limit time.Duration, name string, args ...string) string {
	t.Helper()
	out, err := Try(t, limit, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Try is Command for programs that may fail. The error says what they wrote to standard error.
func Try(t testing.TB, limit time.Duration, name string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Missing(t, name, err.Error())
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("not done within %v: %w", limit, err)
		}
		return stdout.String(), fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}
