package sandbox

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

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

// group tells signals that came to the whole process group from those that came to one process. The init is a member of the group only
// to get the former: what the parent got and the init did too, the program has got as well.
type group struct {
	mu   sync.Mutex
	seen map[os.Signal][]time.Time
	news chan struct{} // closed, and replaced, when a signal has come
}

const (
	// groupDelay is how much later than the parent the init may get a signal of the group. The kernel marks it pending with all members
	// at once; what takes time is that threads are scheduled.
	groupDelay = 30 * time.Millisecond
	// groupMemory is how much earlier.
	groupMemory = time.Second
)

// watch starts to take notice of the signals that come to this process.
func watchGroup() *group {
	g := &group{seen: map[os.Signal][]time.Time{}, news: make(chan struct{})}
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, forwarded()...)
	go func() {
		for s := range signals {
			g.mu.Lock()
			g.seen[s] = append(g.seen[s], time.Now())
			close(g.news)
			g.news = make(chan struct{})
			g.mu.Unlock()
		}
	}()
	return g
}

// got says whether s, which the parent just got, came to the group. One signal seen answers one question.
func (g *group) got(s os.Signal) bool {
	timeout := time.NewTimer(groupDelay)
	defer timeout.Stop()
	for {
		g.mu.Lock()
		seen := g.seen[s]
		for len(seen) > 0 && time.Since(seen[0]) > groupMemory {
			seen = seen[1:]
		}
		found := len(seen) > 0
		if found {
			seen = seen[1:]
		}
		g.seen[s] = seen
		news := g.news
		g.mu.Unlock()
		if found {
			return true
		}
		select {
		case <-news:
		case <-timeout.C:
			return false
		}
	}
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
