package sandbox

import (
	"os"
	"os/signal"
	"strconv"
	"strings"
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
//
// The kernel marks a signal pending with all members of a group at once. So when the parent asks, the signal is still pending here, or
// has been handled and is in seen, or (for the moment that it takes from one to the other) soon will be. As everywhere, the same signal
// twice within the time that it takes a process to handle one may be one signal to it.
type group struct {
	mu   sync.Mutex
	seen map[syscall.Signal][]time.Time // handled, and nobody has asked for them yet
	owed map[syscall.Signal]bool        // were asked for while pending: not to be put into seen when they are handled
	news chan struct{}                  // closed, and replaced, when seen grows
}

const (
	// groupDelay is how long handling a signal may take, once it is not pending any more.
	groupDelay = 30 * time.Millisecond
	// groupMemory is how long a signal is remembered that nobody asks for: what the program sends to its init alone must not be mistaken,
	// later, for one that it got itself.
	groupMemory = time.Second
)

// watchGroup starts to watch for signals to the group.
func watchGroup() *group {
	g := &group{seen: map[syscall.Signal][]time.Time{}, owed: map[syscall.Signal]bool{}, news: make(chan struct{})}
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, forwarded()...)
	go func() {
		for s := range signals {
			g.handled(s.(syscall.Signal))
		}
	}()
	return g
}

func (g *group) handled(s syscall.Signal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.owed[s] {
		g.owed[s] = false
		return
	}
	g.seen[s] = append(g.seen[s], time.Now())
	close(g.news)
	g.news = make(chan struct{})
}

// got says whether s, which the parent just got, came to the group. One signal seen answers one question.
func (g *group) got(s syscall.Signal) bool {
	timeout := time.NewTimer(groupDelay)
	defer timeout.Stop()
	for {
		found, news := g.take(s)
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

// take answers got as far as that can be known now. If it is false, news will be closed when it may be otherwise.
func (g *group) take(s syscall.Signal) (found bool, news chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	seen := g.seen[s]
	for len(seen) > 0 && time.Since(seen[0]) > groupMemory {
		seen = seen[1:]
	}
	if found = len(seen) > 0; found {
		seen = seen[1:]
	} else if found = pending(s); found {
		g.owed[s] = true
	}
	g.seen[s] = seen
	return found, g.news
}

// pending says whether a signal is pending with this process.
func pending(s syscall.Signal) bool {
	status, _ := os.ReadFile("/proc/self/status")
	return pendingIn(string(status), s)
}

// pendingIn reads the line "ShdPnd: 0000000000004000" of a /proc/PID/status.
func pendingIn(status string, s syscall.Signal) bool {
	for line := range strings.Lines(status) {
		if mask, ok := strings.CutPrefix(line, "ShdPnd:"); ok {
			bits, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
			return err == nil && bits>>(s-1)&1 != 0
		}
	}
	return false
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
