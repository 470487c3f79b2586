package sandbox

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// forwarded are the signals that are passed on. Those of job control (TSTP, TTIN, TTOU, CONT) are not: they are for the process group,
// and stop this process together with the program, as a shell expects.
func forwarded() []os.Signal {
	var all []os.Signal
	for _, s := range []syscall.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGWINCH} {
		if !signal.Ignored(s) { // nohup, and shells for background jobs; the program inherits it
			all = append(all, s)
		}
	}
	return all
}

// forwardSignals passes signals on until the end.
func (r *running) forwardSignals() {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, forwarded()...)
	var forwarder sync.WaitGroup
	forwarder.Go(func() {
		for s := range signals {
			_ = r.conn.send(message{Kind: msgSignal, Signal: s.(syscall.Signal), Forwarded: true}, nil) // fails if there is nobody left
		}
	})
	r.stop = append(r.stop, func() {
		signal.Stop(signals)
		close(signals)
		forwarder.Wait()
	})
}

// signalSet is signals as the kernel has a set of them.
func signalSet(signals []os.Signal) (set unix.Sigset_t) {
	const bits = 8 * unsafe.Sizeof(set.Val[0])
	for _, s := range signals {
		n := uintptr(s.(syscall.Signal)) - 1
		set.Val[n/bits] |= 1 << (n % bits)
	}
	return set
}

// group tells signals that came to the whole process group from those that came to one process. The init is a member of the group only
// to get the former: what the parent got and the init did too, the program has got as well.
//
// The init is executed with these signals blocked, and blocked they stay, in all of its threads: the kernel marks a signal pending with all
// members at once, and there it can be looked up whenever the parent asks, which a handler's being run in time could not be counted on.
type group struct {
	file *os.File // a signalfd: reading takes a pending signal
	raw  syscall.RawConn

	mu   sync.Mutex
	seen map[syscall.Signal]time.Time // taken, and nobody has asked for them yet
}

// groupMemory is how long a signal that nobody asks for is remembered: what the program sends to its init alone must not be mistaken,
// later, for one that it got itself.
const groupMemory = time.Second

// watchGroup starts to watch for signals to the group.
func watchGroup() (*group, error) {
	set := signalSet(forwarded())
	fd, err := unix.Signalfd(-1, &set, unix.SFD_CLOEXEC|unix.SFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("signalfd", err)
	}
	g := &group{file: os.NewFile(uintptr(fd), "signalfd"), seen: map[syscall.Signal]time.Time{}}
	if g.raw, err = g.file.SyscallConn(); err != nil {
		return nil, err
	}
	go func() {
		_ = g.raw.Read(func(fd uintptr) bool {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.take(int(fd))
			return false // for ever
		})
	}()
	return g, nil
}

// take notes what is pending. g.mu is held: whoever asks finds a signal either pending or noted.
func (g *group) take(fd int) {
	var info unix.SignalfdSiginfo
	b := (*[unsafe.Sizeof(info)]byte)(unsafe.Pointer(&info))
	for {
		n, err := unix.Read(fd, b[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n != len(b) {
			return
		}
		g.seen[syscall.Signal(info.Signo)] = time.Now()
	}
}

// got says whether s, which the parent just got, came to the group. One signal seen answers one question.
func (g *group) got(s syscall.Signal) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_ = g.raw.Control(func(fd uintptr) { g.take(int(fd)) })
	at, ok := g.seen[s]
	delete(g.seen, s)
	return ok && time.Since(at) < groupMemory
}

// keepTerminal has the terminal's foreground process group be ours again when the program has ended, if it is now. A shell that runs as
// the program makes a group of its own the foreground's; it cannot restore ours, which does not exist in its PID namespace.
func (r *running) keepTerminal() {
	f := r.stdio.files[0]
	var own, now int
	control(f, func(fd int) {
		own = unix.Getpgrp()
		now, _ = unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	})
	if own != now {
		return
	}
	r.stop = append(r.stop, func() {
		control(f, func(fd int) {
			if now, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP); err != nil || now == own {
				return
			}
			signal.Ignore(unix.SIGTTOU) // which stops those in the background who do this
			_ = unix.IoctlSetPointerInt(fd, unix.TIOCSPGRP, own)
			signal.Reset(unix.SIGTTOU)
		})
	})
}

// control calls fn with the descriptor of f, if it is open.
func control(f *os.File, fn func(fd int)) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { fn(int(fd)) })
}
