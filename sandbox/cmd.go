// Package sandbox is os/exec for a program on a stack of its own.
//
// The program runs in its own user and network namespace. The one way out of that is a TUN interface whose other end a weir stack in this
// process holds; the stack decides what becomes of each connection. No privileges are needed, nothing is set up on the host, and the
// program need not know: it keeps its user, working directory, environment, terminal, exit code and signals. It also runs in a mount and
// a PID namespace, under a small init process (this binary, executed again), so that it and all it starts end when this process does,
// even when that is killed.
//
// Since that init is this same binary, main must call Init before anything else:
//
//	func main() {
//		sandbox.Init() // does not return in the init process of a sandbox
//		…
//		cmd := sandbox.Command("curl", "-s", "http://weir.internal/")
//		cmd.Stdout = os.Stdout
//		err := cmd.Run()
//
// It works on Linux. Elsewhere Start answers an error that wraps errors.ErrUnsupported.
//
// # What it is not
//
// The sandbox is one of the network. The program sees the files that this process sees, and may use what they offer: Unix sockets of the
// host's services among them. It shares this process's session and process group, as a pipeline's members do: that is how the keys of the
// terminal reach it, and it may in turn signal that group. If it may run as root here, it should not be run as root there.
//
// # Addresses
//
// Inside, the interface is weir0 with 198.18.0.2/30 and fd77:6569:7200::2/126; the gateway, which is also the name server, is 198.18.0.1
// and fd77:6569:7200::1. Of IPv4 that is the corner of a block for benchmarks (RFC 2544), which no network should use for real and which
// is not, unlike 10/8, 172.16/12, 192.168/16 and 100.64/10, what VPNs, providers and containers choose from; of IPv6 it is a unique local
// prefix ("weir" in ASCII). Both are the same in every sandbox: no two see each other.
package sandbox

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"github.com/weirnet/weir/sandbox/relay"
)

// Addresses inside every sandbox.
const (
	Guest4   = "198.18.0.2"        // the program's
	Gateway4 = "198.18.0.1"        // the stack's: gateway, name server, weir.internal
	Guest6   = "fd77:6569:7200::2" // the program's
	Gateway6 = "fd77:6569:7200::1" // the stack's
)

// Cmd is a program to be run, or running, on a stack of its own. It is used once. Its fields are not to be changed after Start.
type Cmd struct {
	// Path, Args, Env, Dir, Stdin, Stdout, Stderr and ExtraFiles are those of exec.Cmd: Path is what is executed, Args begins with the
	// name by which it is called, a nil Env is this process's, a nil Stdin, Stdout or Stderr is /dev/null, and entry i of ExtraFiles
	// becomes descriptor 3+i.
	Path       string
	Args       []string
	Env        []string
	Dir        string
	Stdin      io.Reader
	Stdout     io.Writer
	Stderr     io.Writer
	ExtraFiles []*os.File

	// WaitDelay bounds how long Wait waits for the copying from Stdin and to Stdout and Stderr after the program has ended; 0: without
	// bound. It matters only if they are not files.
	WaitDelay time.Duration

	// MTU of the interface inside, in bytes; 0: 1500. Super-segments cross whatever it is.
	MTU int
	// Publish are ports of the program's that this host serves.
	Publish []relay.Port
	// AllowHostLoopback makes the gateway's addresses lead to this host's 127.0.0.1 and ::1. Else nothing inside leads there.
	AllowHostLoopback bool
	// Resolvers are asked for the names that programs look up; nil: the name servers of this host.
	Resolvers []netip.AddrPort
	// Capture gets a pcapng record of what crosses the interface. It is written to while the program runs, and not closed.
	Capture io.Writer
	// NoPIDNamespace leaves the program in this process's PID namespace: it sees all processes, and those that it leaves behind are
	// killed one by one.
	NoPIDNamespace bool
	// ForwardSignals passes on the signals that this process gets (HUP, INT, QUIT, TERM, USR1, USR2, ALRM and WINCH, unless it ignores
	// them) to the program while it runs, instead of what they would do here. Signals that went to the whole process group, as those of
	// the terminal's keys do, have reached the program already, and do not reach it twice. The terminal's foreground process group is
	// what it was when the program has ended.
	ForwardSignals bool
	// Notice is called with one line for people about what is not as they may expect: that there is no fresh /proc, for example. Nil:
	// nobody is told.
	Notice func(string)

	// Err is what Command found wrong, and Start will answer.
	Err error

	ctx     context.Context
	run     *running
	network network
	closeAfterStart,
	closeAfterWait []io.Closer
	state  *ProcessState
	waited bool
}

// Command returns a Cmd that executes name, which is looked up in PATH if it has no slash, with the given arguments.
func Command(name string, arg ...string) *Cmd {
	c := &Cmd{Path: name, Args: append([]string{name}, arg...)}
	path, err := exec.LookPath(name)
	if path != "" {
		c.Path = path
	}
	c.Err = err
	return c
}

// CommandContext is Command for a program that is killed, with all that it started, when ctx ends before it.
func CommandContext(ctx context.Context, name string, arg ...string) *Cmd {
	c := Command(name, arg...)
	c.ctx = ctx
	return c
}

// Run is Start and Wait.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output runs the program and returns what it wrote to standard output. An *ExitError has what it wrote to standard error, if c.Stderr
// was nil.
func (c *Cmd) Output() ([]byte, error) {
	if c.Stdout != nil {
		return nil, errors.New("sandbox: Stdout already set")
	}
	var stdout, stderr bytes.Buffer
	c.Stdout = &stdout
	if c.Stderr == nil {
		c.Stderr = &stderr
	}
	err := c.Run()
	if e, ok := err.(*ExitError); ok {
		e.Stderr = stderr.Bytes()
	}
	return stdout.Bytes(), err
}

// CombinedOutput runs the program and returns what it wrote to standard output and standard error.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	if c.Stdout != nil || c.Stderr != nil {
		return nil, errors.New("sandbox: Stdout or Stderr already set")
	}
	var b bytes.Buffer
	c.Stdout, c.Stderr = &b, &b
	err := c.Run()
	return b.Bytes(), err
}

// StdinPipe returns the write end of a pipe that will be the program's standard input. Wait closes it.
func (c *Cmd) StdinPipe() (io.WriteCloser, error) {
	if c.Stdin != nil || c.run != nil {
		return nil, errors.New("sandbox: StdinPipe after Stdin or Start")
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	c.Stdin = r
	c.closeAfterStart, c.closeAfterWait = append(c.closeAfterStart, r), append(c.closeAfterWait, w)
	return w, nil
}

// StdoutPipe returns the read end of a pipe that will be the program's standard output. Wait closes it: read to its end before that.
func (c *Cmd) StdoutPipe() (io.ReadCloser, error) { return c.outputPipe(&c.Stdout) }

// StderrPipe is StdoutPipe for standard error.
func (c *Cmd) StderrPipe() (io.ReadCloser, error) { return c.outputPipe(&c.Stderr) }

func (c *Cmd) outputPipe(to *io.Writer) (io.ReadCloser, error) {
	if *to != nil || c.run != nil {
		return nil, errors.New("sandbox: pipe after Stdout, Stderr or Start")
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	*to = w
	c.closeAfterStart, c.closeAfterWait = append(c.closeAfterStart, w), append(c.closeAfterWait, r)
	return r, nil
}

// ProcessState says how the program ended, nil before Wait has returned.
func (c *Cmd) ProcessState() *ProcessState { return c.state }

// ProcessState says how a program ended.
type ProcessState struct {
	code   int
	signal syscall.Signal // 0: it exited
	usage  [2]time.Duration
}

// ExitCode is what the program exited with, and as a shell has it 128+n if signal n ended it.
func (p *ProcessState) ExitCode() int { return p.code }

// Signal is the signal that ended the program; false if it exited.
func (p *ProcessState) Signal() (syscall.Signal, bool) { return p.signal, p.signal != 0 }

// UserTime is the processor time that the program, its init and what they waited for used in user mode.
func (p *ProcessState) UserTime() time.Duration { return p.usage[0] }

// SystemTime is UserTime's counterpart in the kernel.
func (p *ProcessState) SystemTime() time.Duration { return p.usage[1] }

// String is "exit status 7" or "signal: killed".
func (p *ProcessState) String() string {
	if p.signal != 0 {
		return "signal: " + p.signal.String()
	}
	return "exit status " + strconv.Itoa(p.code)
}

// ExitError says that the program ran and ended otherwise than with exit code 0.
type ExitError struct {
	*ProcessState
	Stderr []byte // see Cmd.Output
}

// Error is the ProcessState in words.
func (e *ExitError) Error() string { return e.ProcessState.String() }

// MissingError says that this host does not have, or does not grant, something without which there is no sandbox.
type MissingError struct {
	What string // "user namespaces", "/dev/net/tun"
	Err  error  // what the system said
	Fix  string // what mends it: the exact command where there is one
}

// Error is "sandbox: no What: Err; to mend it: Fix".
func (e *MissingError) Error() string {
	s := "sandbox: no " + e.What + ": " + e.Err.Error()
	if e.Fix != "" {
		s += "; to mend it: " + e.Fix
	}
	return s
}

// Unwrap returns what the system said.
func (e *MissingError) Unwrap() error { return e.Err }

// Exit codes of a command that runs another, as env(1) and shells have them.
const (
	ExitFailed        = 125 // the command itself failed: no namespaces, no TUN, no memory
	ExitNotExecutable = 126 // the program was found, but could not be executed
	ExitNotFound      = 127 // the program was not found
)

// ExitCode is what a command exits with that ran a Cmd and got err: the program's own code, 128+n if signal n ended it, or one of the
// constants above.
func ExitCode(err error) int {
	var exit *ExitError
	var notRun *exec.Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	case errors.As(err, &notRun) && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound)):
		return ExitNotFound
	case errors.As(err, &notRun):
		return ExitNotExecutable
	}
	return ExitFailed
}
