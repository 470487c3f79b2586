package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/internal/nstest"
)

// everyMode runs fn with and without PID namespace.
func everyMode(t *testing.T, fn func(t *testing.T, env string)) {
	need(t)
	t.Run("PID namespace", func(t *testing.T) { fn(t, "NO_PID_NS=") })
	t.Run("no PID namespace", func(t *testing.T) { fn(t, "NO_PID_NS=1") })
}

// The program and all that it started end with the process that started the sandbox, even if that has no time to say so; and with the
// init, should somebody kill that.
func TestDies(t *testing.T) {
	everyMode(t, func(t *testing.T, env string) {
		for _, victim := range []string{"parent", "init"} {
			c := helper(t, "run", "sh", "-c", "setsid sleep 1001 & echo started; exec sleep 1002")
			c.Env = append(c.Env, env)
			out, err := c.StdoutPipe()
			if err := errors.Join(err, c.Start()); err != nil {
				t.Fatal(err)
			}
			line(t, out)
			init := pidfdOf(t, c.Process.Pid, initName)
			ends := []int{pidfdOf(t, c.Process.Pid, "sleep 1002"), init}
			if victim == "parent" || env == "NO_PID_NS=" {
				ends = append(ends, pidfdOf(t, c.Process.Pid, "sleep 1001"))
			} else { // the exception: without a PID namespace nobody is left to kill those that the program left behind
				left := pidfdOf(t, c.Process.Pid, "sleep 1001")
				defer unix.PidfdSendSignal(left, unix.SIGKILL, nil, 0)
			}
			if victim == "init" {
				unix.PidfdSendSignal(init, unix.SIGKILL, nil, 0)
			} else {
				c.Process.Kill()
			}
			for _, fd := range ends {
				awaitEnd(t, fd)
			}
			if c.Wait(); victim == "init" && c.ProcessState.ExitCode() != 137 {
				t.Errorf("%v after the init was killed, want 137", c.ProcessState)
			}
		}
	})
}

// What the program leaves behind ends with it, before Wait returns; orphans are reaped before that.
func TestOrphans(t *testing.T) {
	for _, noPIDs := range []bool{false, true} {
		t.Run(fmt.Sprint(noPIDs), func(t *testing.T) {
			need(t)
			c := shell(t, "(sleep 0 & echo $! > $1) ; setsid sleep 1003 & echo started; read x", t.TempDir()+"/pid")
			c.NoPIDNamespace = noPIDs
			in, _ := c.StdinPipe()
			out, _ := c.StdoutPipe()
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			line(t, out)
			left := pidfdOf(t, os.Getpid(), "sleep 1003")
			in.Close()
			c.Wait()
			p := []unix.PollFd{{Fd: int32(left), Events: unix.POLLIN}}
			if n, err := unix.Poll(p, 0); n != 1 {
				t.Errorf("the process left behind is still there: %v", err)
			}
		})
	}
}

// counter says each signal that it gets, and exits on USR1.
const counter = `for s in HUP INT QUIT TERM USR2 WINCH; do trap "echo $s" $s; done; trap 'echo end; exit 9' USR1; echo ready
	while :; do sleep 0.02; done`

// Signals to the parent reach the program once, whether they were sent to it alone or to the process group.
func TestForwardSignals(t *testing.T) {
	everyMode(t, func(t *testing.T, env string) {
		c := helper(t, "run", "sh", "-c", counter)
		c.Env = append(c.Env, env)
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		out, err := c.StdoutPipe()
		if err := errors.Join(err, c.Start()); err != nil {
			t.Fatal(err)
		}
		defer c.Process.Kill()
		line(t, out)
		for _, to := range []int{c.Process.Pid, -c.Process.Pid} {
			for s, name := range map[syscall.Signal]string{
				unix.SIGHUP: "HUP", unix.SIGINT: "INT", unix.SIGQUIT: "QUIT", unix.SIGTERM: "TERM", unix.SIGUSR2: "USR2", unix.SIGWINCH: "WINCH",
			} {
				if err := unix.Kill(to, s); err != nil {
					t.Fatal(err)
				}
				if got := line(t, out); got != name {
					t.Errorf("got %q, want %q", got, name)
				}
			}
		}
		unix.Kill(c.Process.Pid, unix.SIGUSR1) // behind all others in the same queue
		if got := line(t, out); got != "end" {
			t.Errorf("got %q in place of the end: a signal came twice", got)
		}
		if c.Wait(); c.ProcessState.ExitCode() != 9 {
			t.Errorf("%v", c.ProcessState)
		}
	})
}

// Signals that this process ignores, as under nohup, the program ignores too.
func TestIgnored(t *testing.T) {
	need(t)
	out, err := exec.Command("sh", "-c", `trap '' HUP; WEIR_SANDBOX_HELPER=run exec "$0" sh -c 'kill -HUP $$; echo alive'`, must(os.Executable())).CombinedOutput()
	if err != nil || string(out) != "alive\n" {
		t.Errorf("%q, %v", out, err)
	}
}

// terminal starts c with a terminal of its own, and returns the terminal's other end.
func terminal(t *testing.T, c *exec.Cmd) *os.File {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		nstest.Missing(t, "pty", err.Error())
	}
	t.Cleanup(func() { master.Close() })
	var n int
	control(master, func(fd int) {
		n, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
		err = errors.Join(err, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	})
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		nstest.Missing(t, "pty", err.Error())
	}
	defer slave.Close()
	c.Stdin, c.Stdout, c.Stderr = slave, slave, slave
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return master
}

// The terminal is the program's too: it is one, and its keys' signals come once.
func TestTerminal(t *testing.T) {
	everyMode(t, func(t *testing.T, env string) {
		c := helper(t, "run", "sh", "-c", "test -t 0 && test -t 1 && : > /dev/tty && "+counter)
		c.Env = append(c.Env, env)
		master := terminal(t, c)
		defer c.Process.Kill()
		if got := line(t, master); got != "ready\r" {
			t.Fatalf("%q", got)
		}
		io.WriteString(master, "\x03")
		if got := strings.TrimPrefix(line(t, master), "^C"); got != "INT\r" {
			t.Errorf("%q", got)
		}
		unix.Kill(c.Process.Pid, unix.SIGUSR1)
		if got := line(t, master); got != "end\r" {
			t.Errorf("got %q in place of the end: a signal came twice", got)
		}
		if c.Wait(); c.ProcessState.ExitCode() != 9 {
			t.Errorf("%v", c.ProcessState)
		}
	})
}

// A program that makes itself the terminal's foreground leaves it to the process group that had it.
func TestForeground(t *testing.T) {
	everyMode(t, func(t *testing.T, env string) {
		c := helper(t, "run", must(os.Executable()))
		c.Env = append(c.Env, env, innerVariable+"=takes")
		master := terminal(t, c)
		defer c.Process.Kill()
		for _, want := range []string{"taken: <nil>\r", "afterwards in the foreground: true <nil>\r"} {
			if got := line(t, master); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
		c.Wait()
	})
}

// Control-Z stops the program and the process that started it, together, as the shell's `fg` continues them.
func TestStop(t *testing.T) {
	everyMode(t, func(t *testing.T, env string) {
		c := helper(t, "run", "sh", "-c", counter)
		c.Env = append(c.Env, env)
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		out, err := c.StdoutPipe()
		if err := errors.Join(err, c.Start()); err != nil {
			t.Fatal(err)
		}
		defer c.Process.Kill()
		line(t, out)
		unix.Kill(-c.Process.Pid, unix.SIGTSTP)
		var status unix.WaitStatus
		if _, err := unix.Wait4(c.Process.Pid, &status, unix.WUNTRACED, nil); err != nil || !status.Stopped() {
			t.Fatalf("not stopped: %v, %v", status, err)
		}
		unix.Kill(-c.Process.Pid, unix.SIGCONT)
		unix.Kill(c.Process.Pid, unix.SIGUSR1)
		if got := line(t, out); got != "end" {
			t.Errorf("%q", got)
		}
		c.Wait()
	})
}
