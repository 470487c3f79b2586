package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// running is a program, or what becomes one, and its init.
type running struct {
	conn   *conn
	init   *exec.Cmd
	pidns  bool
	done   chan struct{}       // closed when the init has ended and been waited for
	heard  chan struct{}       // closed when the init has said all that it will
	status *syscall.WaitStatus // how the program ended; nil: the init did not live to say
	stdio  *stdio
	killed atomic.Bool // by us, since the context ended
	stop   []func()    // to be called when it is over, the last one first
}

// helloLimit is how long the init may take to say hello. It does so as soon as it runs.
const helloLimit = 30 * time.Second

// Start starts the program. When it returns nil the program is executing; what it will meet on the network has been up before.
//
// Errors: *exec.Error if the program cannot be executed, *MissingError if this host lacks something, others. ExitCode tells them apart.
func (c *Cmd) Start() error {
	switch {
	case c.run != nil:
		return errors.New("sandbox: already started")
	case len(os.Args) > 0 && os.Args[0] == initName:
		return errors.New("sandbox: main does not call sandbox.Init before anything else")
	case c.Err != nil:
		closeAll(c.closeAfterStart)
		return c.Err
	}
	err := c.start()
	closeAll(c.closeAfterStart)
	if err != nil {
		closeAll(c.closeAfterWait)
		c.run = nil
	}
	return err
}

func (c *Cmd) start() error {
	o, err := c.order()
	if err != nil {
		return err
	}
	io, err := c.openStdio()
	if err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	tun, err := c.launch(o, io)
	var f *failure
	if errors.As(err, &f) && f.Step == stepProc {
		c.notice("the program has no PID namespace of its own: " + f.Text + " (containers that mask parts of /proc do not permit it)")
		o.PIDNamespace = false
		tun, err = c.launch(o, io)
	}
	if err != nil {
		io.close()
		return explain(err)
	}
	c.run.stdio = io
	if c.ForwardSignals { // from now on: the program may signal that it is ready before we know that it was started
		c.run.keepTerminal()
		c.run.forwardSignals()
	}
	if err := c.execute(tun); err != nil {
		c.run.end()
		io.close()
		return err
	}
	io.start()
	go c.run.listen()
	return nil
}

// order says what the init is to do.
func (c *Cmd) order() (*order, error) {
	o := &order{
		Path: c.Path, Args: c.Args, Env: c.Env, Dir: c.Dir, ExtraFiles: len(c.ExtraFiles),
		PIDNamespace: !c.NoPIDNamespace, MTU: c.mtu(),
	}
	if o.MTU < minMTU || o.MTU > maxMTU {
		return nil, fmt.Errorf("sandbox: MTU is %d: choose one of %d (IPv6 needs that) to %d", o.MTU, minMTU, maxMTU)
	}
	if len(o.Args) == 0 {
		o.Args = []string{c.Path}
	}
	o.Env = (&exec.Cmd{Env: c.Env, Dir: c.Dir}).Environ()
	if o.Dir != "" { // else a wrong one would look like a wrong program
		if i, err := os.Stat(o.Dir); err != nil {
			return nil, fmt.Errorf("sandbox: working directory: %w", err)
		} else if !i.IsDir() {
			return nil, fmt.Errorf("sandbox: working directory: %w", &os.PathError{Op: "chdir", Path: o.Dir, Err: syscall.ENOTDIR})
		}
	}
	host, _ := os.ReadFile(resolvConf) // a host without has no search domains, and that is all we want of it
	o.Resolv = resolvFor(string(host))
	return o, nil
}

// launch starts an init and has it prepare everything. It returns the file of the TUN device. On errors nothing is left.
func (c *Cmd) launch(o *order, io *stdio) (*os.File, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "sandbox")
	ours, err := newConn(os.NewFile(uintptr(pair[0]), "sandbox"))
	if err != nil {
		theirs.Close()
		return nil, err
	}
	r := &running{conn: ours, pidns: o.PIDNamespace, done: make(chan struct{}), heard: make(chan struct{})}
	r.init = &exec.Cmd{
		// What is executed is this very file, even if another has its name by now.
		Path: "/proc/self/exe", Args: []string{initName}, Env: os.Environ(),
		Stdin: io.files[0], Stdout: io.files[1], Stderr: io.files[2], ExtraFiles: append([]*os.File{theirs}, c.ExtraFiles...),
		SysProcAttr: attributes(o.PIDNamespace),
	}
	err = r.startInit()
	theirs.Close() // else the end of the init would not be the end of the stream
	if err != nil {
		ours.Close()
		return nil, err
	}
	if c.ctx != nil {
		stop := context.AfterFunc(c.ctx, func() {
			r.killed.Store(true)
			r.kill()
		})
		r.stop = append(r.stop, func() { stop() })
	}
	tun, err := r.prepare(o, c.notice)
	if err != nil {
		r.end()
		return nil, err
	}
	c.run = r
	return tun, nil
}

// startInit starts the init from a thread that lives as long as the init: the kernel kills the init when that thread ends, not when the
// process does.
func (r *running) startInit() error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := r.init.Start()
		started <- err
		if err == nil {
			_ = r.init.Wait() // r.init.ProcessState says it better
			close(r.done)
		}
	}()
	return <-started
}

// prepare has the init prepare everything, and returns the TUN file.
func (r *running) prepare(o *order, notice func(string)) (*os.File, error) {
	sent := make(chan error, 1)
	go func() { sent <- r.conn.send(message{Kind: msgOrder, Order: o}, nil) }() // the init may not read, if it is none
	_ = r.conn.SetReadDeadline(time.Now().Add(helloLimit))
	m, _, err := r.conn.receive()
	if err != nil || m.Kind != msgHello {
		return nil, fmt.Errorf("sandbox: the init process (this binary, executed again) does not answer: main must call sandbox.Init before anything else (%v)", err)
	}
	_ = r.conn.SetReadDeadline(time.Time{})
	for {
		m, file, err := r.conn.receive()
		if err != nil {
			return nil, fmt.Errorf("sandbox: the init process ended before the program was started: %w", err)
		}
		switch m.Kind {
		case msgNotice:
			notice(m.Text)
		case msgFailed:
			return nil, m.Failure
		case msgReady:
			if file == nil {
				return nil, errors.New("sandbox: the init process sent no TUN file")
			}
			return file, <-sent
		}
	}
}

// execute puts a stack behind the TUN file, which it closes, and has the program executed.
func (c *Cmd) execute(tun *os.File) error {
	stop, err := c.network.start(c, tun)
	tun.Close()
	if err != nil {
		return err
	}
	c.run.stop = append(c.run.stop, stop)
	if err := c.run.conn.send(message{Kind: msgExecute}, nil); err != nil {
		return fmt.Errorf("sandbox: the init process ended before the program was started: %w", err)
	}
	m, _, err := c.run.conn.receive()
	switch {
	case err != nil:
		if c.ctx != nil && c.ctx.Err() != nil {
			return c.ctx.Err()
		}
		return fmt.Errorf("sandbox: the init process ended before the program was started: %w", err)
	case m.Kind == msgFailed:
		return &exec.Error{Name: c.Path, Err: m.Failure.Errno}
	}
	return nil
}

// listen hears what the init says while the program runs.
func (r *running) listen() {
	defer close(r.heard)
	for {
		m, _, err := r.conn.receive()
		if err != nil {
			return
		}
		if m.Kind == msgEnded {
			s := syscall.WaitStatus(m.Status)
			r.status = &s
		}
	}
}

// kill ends the init, and so all that runs under it.
func (r *running) kill() {
	if r.pidns {
		_ = r.init.Process.Kill()
		return
	}
	_ = r.conn.CloseWrite() // on which the init kills them one by one, and ends
}

// end kills the init, waits for its end, and undoes what there is to undo.
func (r *running) end() {
	r.kill()
	<-r.done
	r.release()
}

func (r *running) release() {
	for i := len(r.stop) - 1; i >= 0; i-- {
		r.stop[i]()
	}
	r.stop = nil
	r.conn.Close()
}

// Wait waits until the program has ended and its output has been copied. The error is nil if it exited with code 0, *ExitError if
// otherwise, the context's if that ended it, or says what went wrong with the copying.
func (c *Cmd) Wait() error {
	switch {
	case c.run == nil:
		return errors.New("sandbox: Wait without Start")
	case c.waited:
		return errors.New("sandbox: Wait was already called")
	}
	c.waited = true
	r := c.run
	<-r.done
	<-r.heard
	copyErr := r.stdio.wait(c.WaitDelay)
	r.release()
	closeAll(c.closeAfterWait)
	c.state = r.state()
	switch {
	case c.state.code != 0 && r.killed.Load():
		return c.ctx.Err()
	case c.state.code != 0:
		return &ExitError{ProcessState: c.state}
	}
	return copyErr
}

// state says how the program ended, or if nobody said how the init did, with which the program then did too.
func (r *running) state() *ProcessState {
	end := r.init.ProcessState
	p := &ProcessState{}
	p.usage[0], p.usage[1] = end.UserTime(), end.SystemTime()
	status, _ := end.Sys().(syscall.WaitStatus)
	if r.status != nil {
		status = *r.status
	}
	p.code = status.ExitStatus()
	if status.Signaled() {
		p.signal = status.Signal()
		p.code = 128 + int(p.signal)
	}
	return p
}

// Signal sends a signal to the program. It is not for SIGSTOP and SIGCONT alone: it takes all.
func (c *Cmd) Signal(sig os.Signal) error {
	s, ok := sig.(syscall.Signal)
	switch {
	case !ok:
		return fmt.Errorf("sandbox: signal %v is not one of this system", sig)
	case c.run == nil:
		return errors.New("sandbox: Signal without Start")
	}
	if err := c.run.conn.send(message{Kind: msgSignal, Signal: s}, nil); err != nil {
		return os.ErrProcessDone
	}
	return nil
}

func (c *Cmd) mtu() int {
	if c.MTU == 0 {
		return defaultMTU
	}
	return c.MTU
}

func (c *Cmd) notice(line string) {
	if c.Notice != nil {
		c.Notice(strings.ReplaceAll(line, "\n", " "))
	}
}
