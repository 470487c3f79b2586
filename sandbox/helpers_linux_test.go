package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/internal/nstest"
	"github.com/weirnet/weir/link/tun"
)

// patience is for what must come.
const patience = 20 * time.Second

// helperVariable names the function of helpers that this binary is executed for: a process that uses the package as a user's would.
const helperVariable = "WEIR_SANDBOX_HELPER"

var helpers = map[string]func(args []string) int{
	// run runs args as `weir run` would, without a stack; stack with one.
	"run":   func(args []string) int { return run(nothing, args) },
	"stack": func(args []string) int { return run(nil, args) },
	// dial sends what it reads to an address, and says what comes back: network, address.
	"dial": func(args []string) int {
		c, err := net.DialTimeout(args[0], args[1], patience)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		defer c.Close()
		data, _ := io.ReadAll(os.Stdin)
		if _, err := c.Write(data); err != nil {
			fmt.Println(err)
			return 1
		}
		if t, ok := c.(*net.TCPConn); ok {
			t.CloseWrite()
		}
		got := make([]byte, len(data))
		_, err = readFull(c, got)
		for start := time.Now(); errors.Is(err, os.ErrDeadlineExceeded) && time.Since(start) < patience; { // of UDP: datagrams may be lost
			c.Write(data)
			_, err = readFull(c, got)
		}
		if err != nil {
			fmt.Println(err)
			return 1
		}
		os.Stdout.Write(got)
		return 0
	},
	// serve echoes one connection after another until standard input ends: network, address.
	"serve": func(args []string) int {
		l, err := net.Listen(args[0], args[1])
		fmt.Println("serving:", err)
		go func() {
			for c, err := l.Accept(); err == nil; c, err = l.Accept() {
				io.Copy(c, c)
				c.Close()
			}
		}()
		io.Copy(io.Discard, os.Stdin)
		return 0
	},
	// hang dials, and holds the connection until standard input ends.
	"hang": func(args []string) int {
		c, err := net.DialTimeout(args[0], args[1], patience)
		if err != nil {
			return 1
		}
		defer c.Close()
		io.Copy(io.Discard, os.Stdin)
		return 0
	},
	// takes takes the terminal, as shells do, and leaves it so.
	"takes": func([]string) int {
		signal.Ignore(unix.SIGTTOU)
		err := errors.Join(unix.Setpgid(0, 0), unix.IoctlSetPointerInt(0, unix.TIOCSPGRP, os.Getpid()))
		fmt.Println("taken:", err)
		return 0
	},
}

// run runs args as `weir run` would.
func run(serve func(*os.File) (func(), error), args []string) int {
	c := Command(args[0], args[1:]...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.ForwardSignals = true
	c.NoPIDNamespace = os.Getenv("NO_PID_NS") != ""
	c.Notice = func(line string) { fmt.Fprintln(os.Stderr, "weir:", line) }
	c.network.serve = serve
	if inner := os.Getenv(innerVariable); inner != "" {
		c.Env = append(os.Environ(), helperVariable+"="+inner)
	}
	err := c.Run()
	if exit := (*ExitError)(nil); err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, "weir:", err)
	}
	if os.Getenv(innerVariable) == "takes" {
		now, err := unix.IoctlGetInt(0, unix.TIOCGPGRP)
		fmt.Println("afterwards in the foreground:", now == unix.Getpgrp(), err)
	}
	return ExitCode(err)
}

// readFull is io.ReadFull with a deadline: of a datagram's usual round trip for UDP.
func readFull(c net.Conn, p []byte) (int, error) {
	c.SetReadDeadline(time.Now().Add(patience))
	if _, ok := c.(*net.UDPConn); ok {
		c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		return c.Read(p)
	}
	return io.ReadFull(c, p)
}

// innerVariable names the helper that the program in the sandbox of helper run is.
const innerVariable = "WEIR_SANDBOX_INNER"

// forgetVariable makes main forget to call Init.
const forgetVariable = "WEIR_SANDBOX_FORGET"

// arguments are those of a helper. As an init that forgot to be one it has none.
func arguments() []string {
	if len(os.Args) > 1 {
		return os.Args[1:]
	}
	return []string{"true"}
}

// nothing is a network on which nobody answers.
func nothing(file *os.File) (func(), error) {
	d, err := tun.FromFile(file, tun.Options{})
	return func() { d.Close() }, err
}

// helper is a command that executes this binary as a helper.
func helper(t testing.TB, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(t.Context(), "/proc/self/exe", args...)
	c.Env = append(os.Environ(), helperVariable+"="+name, "GORACE=atexit_sleep_ms=0")
	c.WaitDelay = patience
	return c
}

// command is a Cmd for tests of what needs no stack.
func command(t testing.TB, name string, args ...string) *Cmd {
	t.Helper()
	c := CommandContext(t.Context(), name, args...)
	c.network.serve = nothing
	c.Notice = func(line string) { t.Errorf("notice: %s", line) }
	return c
}

// shell is command for a script.
func shell(t testing.TB, script string, args ...string) *Cmd {
	t.Helper()
	return command(t, "sh", append([]string{"-c", script, "sh"}, args...)...)
}

// need skips the test if there can be no sandbox here.
func need(t testing.TB) {
	t.Helper()
	nstest.TUN(t)
	c := CommandContext(t.Context(), "true")
	c.network.serve = nothing
	err := c.Run()
	var missing *MissingError
	if errors.As(err, &missing) {
		nstest.Missing(t, "tun", err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// output runs c and returns what it writes to standard output, without the last newline.
func output(t testing.TB, c *Cmd) string {
	t.Helper()
	var stderr bytes.Buffer
	if c.Stderr == nil {
		c.Stderr = &stderr
	}
	out, err := c.Output()
	if err != nil {
		t.Errorf("%v: %v\n%s", c.Args, err, stderr.Bytes())
	}
	return strings.TrimSuffix(string(out), "\n")
}

// line reads a line, a byte at a time: nothing behind it is taken.
func line(t testing.TB, r io.Reader) string {
	t.Helper()
	if f, ok := r.(interface{ SetReadDeadline(time.Time) error }); ok {
		_ = f.SetReadDeadline(time.Now().Add(patience))
	}
	var b []byte
	for one := make([]byte, 1); ; b = append(b, one[0]) {
		if _, err := r.Read(one); err != nil {
			t.Fatalf("reading a line: %v, after %q", err, b)
		}
		if one[0] == '\n' {
			return string(b)
		}
	}
}

// awaitEnd waits until the process behind a pidfd has ended.
func awaitEnd(t testing.TB, pidfd int) {
	t.Helper()
	p := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	deadline := time.Now().Add(patience)
	for {
		n, err := unix.Poll(p, int(time.Until(deadline).Milliseconds()))
		if n > 0 {
			return
		}
		if err != unix.EINTR {
			t.Fatalf("the process is still there: %v", err)
		}
	}
}

// pidfdOf opens a process of the host that is called name and a descendant of ancestor.
func pidfdOf(t testing.TB, ancestor int, commandLine string) int {
	t.Helper()
	for start := time.Now(); time.Since(start) < patience; {
		for _, pid := range descendants(ancestor) {
			args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			if strings.ReplaceAll(strings.TrimSuffix(string(args), "\x00"), "\x00", " ") != commandLine {
				continue
			}
			if fd, err := unix.PidfdOpen(pid, 0); err == nil {
				t.Cleanup(func() { unix.Close(fd) })
				return fd
			}
		}
	}
	t.Fatalf("no process %q under %d", commandLine, ancestor)
	return -1
}

// descendants lists all processes of the host under ancestor.
func descendants(ancestor int) (pids []int) {
	entries, _ := os.ReadDir("/proc")
	under := map[int][]int{}
	for _, e := range entries {
		var pid int
		if _, err := fmt.Sscan(e.Name(), &pid); err != nil {
			continue
		}
		if stat, err := os.ReadFile("/proc/" + e.Name() + "/stat"); err == nil {
			parent := parentOf(stat)
			under[parent] = append(under[parent], pid)
		}
	}
	for next := under[ancestor]; len(next) > 0; next = next[1:] {
		pids = append(pids, next[0])
		next = append(next, under[next[0]]...)
	}
	return pids
}

// userNobody is the user without rights that tests run as.
const userNobody = 65534

// openTUN lets everybody open /dev/net/tun while the test runs.
func openTUN(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	var s unix.Stat_t
	if err := unix.Stat("/dev/net/tun", &s); err != nil {
		nstest.Missing(t, "tun", err.Error())
	}
	if err := unix.Chmod("/dev/net/tun", 0o666); err != nil {
		nstest.Missing(t, "tun", err.Error())
	}
	t.Cleanup(func() { unix.Chmod("/dev/net/tun", s.Mode&0o777) })
}

// asNobody makes c one of user nobody's, if we may do that.
func asNobody(t testing.TB, c *exec.Cmd) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	c.Dir = "/"
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: userNobody, Gid: userNobody}}
}
