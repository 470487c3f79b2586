package sandbox

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/link/tun"
)

// initName is what the init process is called by: its argument 0.
const initName = "weir-init"

// socketFD is the descriptor by which the init talks with the parent. Those of Cmd.ExtraFiles follow.
const socketFD = 3

// Init is to be called by main before anything else. In the init process of a sandbox, which is this binary executed again, it does the
// work of that and does not return. In every other process it does nothing.
func Init() {
	if len(os.Args) != 1 || os.Args[0] != initName {
		return
	}
	runtime.LockOSThread() // capabilities are a thread's, and to die with the parent is to die with its thread
	os.Exit(runInit())
}

// supervisor is what an init has.
type supervisor struct {
	conn  *conn
	order *order
	group *group
}

// runInit is the life of an init process. It returns the exit code, which nobody needs.
func runInit() int {
	c, err := newConn(os.NewFile(socketFD, "sandbox"))
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: this is no command: it is started by package sandbox (%v)\n", initName, err)
		return ExitFailed
	}
	s := &supervisor{conn: c, group: watchGroup()}
	if err := s.greet(); err != nil {
		return ExitFailed
	}
	file, f := s.prepare()
	if f != nil {
		_ = c.send(message{Kind: msgFailed, Failure: f}, nil)
		return ExitFailed
	}
	err = c.send(message{Kind: msgReady}, file)
	file.Close() // the parent has it now; the interface lives as long as it keeps it
	if err != nil {
		return ExitFailed
	}
	early, ok := s.awaitExecute()
	if !ok {
		return ExitFailed
	}
	pid, err := s.execute()
	if err != nil {
		_ = c.send(message{Kind: msgFailed, Failure: asFailure(stepExecute, err)}, nil)
		return ExitFailed
	}
	if err := c.send(message{Kind: msgStarted}, nil); err != nil {
		return s.killAll()
	}
	go func() {
		for _, m := range early {
			s.signal(pid, m)
		}
		s.listen(pid)
	}()
	return s.reap(pid)
}

// awaitExecute waits for the word to execute the program, and returns the signals that are meant for it and come before. False if the
// parent is gone.
func (s *supervisor) awaitExecute() (early []message, ok bool) {
	for {
		m, _, err := s.conn.receive()
		switch {
		case err != nil:
			return nil, false
		case m.Kind == msgExecute:
			return early, true
		case m.Kind == msgSignal:
			early = append(early, m)
		}
	}
}

// greet says hello and takes the order.
func (s *supervisor) greet() error {
	if err := s.conn.send(message{Kind: msgHello}, nil); err != nil {
		return err
	}
	m, _, err := s.conn.receive()
	if err == nil && (m.Kind != msgOrder || m.Order == nil) {
		err = fmt.Errorf("%s in place of an order", m.Kind)
	}
	s.order = m.Order
	return err
}

// prepare does, in the new namespaces, what is to be done before the program is executed. It returns the TUN file.
func (s *supervisor) prepare() (*os.File, *failure) {
	_ = os.WriteFile("/proc/self/comm", []byte(initName), 0) // what ps shows; it would be "exe"
	if !s.order.PIDNamespace {
		// Orphans of the program's come to us, so that we can kill them.
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return nil, asFailure(stepSubreaper, os.NewSyscallError("prctl(PR_SET_CHILD_SUBREAPER)", err))
		}
	}
	if err := ownMounts(); err != nil {
		return nil, asFailure(stepMount, err)
	}
	if err := s.nameService(); err != nil {
		return nil, asFailure(stepMount, err)
	}
	if s.order.PIDNamespace {
		if err := freshProc(); err != nil {
			return nil, asFailure(stepProc, err)
		}
	}
	settings()
	file, err := tun.OpenFile(interfaceName, tun.Options{MTU: s.order.MTU})
	if err != nil {
		f := asFailure(stepTUN, err)
		var e *tun.Error
		if errors.As(err, &e) {
			f.Text, f.Fix = e.Op+" "+e.Device+": "+e.Err.Error(), e.Fix
		}
		return nil, f
	}
	if err := configure(s.notice); err != nil {
		file.Close()
		return nil, asFailure(stepNetwork, err)
	}
	return file, nil
}

// notice tells the parent something for people.
func (s *supervisor) notice(line string) { _ = s.conn.send(message{Kind: msgNotice, Text: line}, nil) }

// execute executes the program, without the capabilities of the init, and leaves its files to it.
func (s *supervisor) execute() (pid int, err error) {
	if err := dropInheritable(); err != nil {
		return 0, err
	}
	o := s.order
	attr := &syscall.ProcAttr{Dir: o.Dir, Env: o.Env, Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{}}
	for i := range o.ExtraFiles {
		fd := socketFD + 1 + i
		unix.CloseOnExec(fd) // the program gets it by its own number only
		attr.Files = append(attr.Files, uintptr(fd))
	}
	if !o.PIDNamespace {
		attr.Sys.Pdeathsig = syscall.SIGKILL
	}
	if pid, err = syscall.ForkExec(o.Path, o.Args, attr); err != nil {
		return 0, err
	}
	for i := range o.ExtraFiles {
		unix.Close(socketFD + 1 + i)
	}
	if null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0); err == nil {
		for fd := range 3 { // a pipe ends when the program closes it, not when it ends
			_ = unix.Dup3(null, fd, 0)
		}
		unix.Close(null)
	}
	return pid, nil
}

// dropInheritable takes from what this thread executes the capabilities that it was itself given over an exec. (Root gets, by being
// root, all that its user namespace has to give.)
func dropInheritable() error {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl(PR_CAP_AMBIENT_CLEAR_ALL)", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&header, &caps[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	caps[0].Inheritable, caps[1].Inheritable = 0, 0
	return os.NewSyscallError("capset", unix.Capset(&header, &caps[0]))
}
