package sandbox

import (
	"bytes"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// listen does what the parent says while the program runs, and ends everything when the parent is gone.
func (s *supervisor) listen(pid int) {
	for {
		m, _, err := s.conn.receive()
		if err != nil {
			os.Exit(s.killAll())
		}
		if m.Kind == msgSignal {
			s.signal(pid, m)
		}
	}
}

// signal gives the program a signal, unless it has it already.
func (s *supervisor) signal(pid int, m message) {
	if m.Forwarded && s.group.got(m.Signal) {
		return
	}
	// The process cannot be another: if it has ended and been reaped, so have we, or are about to.
	_ = unix.Kill(pid, m.Signal)
}

// reap waits for all children, the program's orphans too, until the program itself has ended. Then it tells the parent, and sees to it
// that nothing is left: the end of a PID namespace's init is the end of all in it.
func (s *supervisor) reap(program int) int {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return s.killAll()
		}
		if pid != program {
			continue
		}
		if !s.order.PIDNamespace {
			s.killAll() // before the parent hears: what it does next may count on it
		}
		_ = s.conn.send(message{Kind: msgEnded, Status: uint32(status)}, nil)
		return 0
	}
}

// killAll kills what there is under this init, where its own end does not: in a PID namespace that is shared.
func (s *supervisor) killAll() int {
	if s.order.PIDNamespace {
		return ExitFailed
	}
	for { // children of the killed become ours, and are seen the next time
		for _, pid := range children() {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		if _, err := syscall.Wait4(-1, nil, 0, nil); err != nil && err != syscall.EINTR {
			return ExitFailed // there are none
		}
	}
}

// children lists the children of this process.
func children() (pids []int) {
	self := os.Getpid()
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err == nil && parentOf(stat) == self {
			pids = append(pids, pid)
		}
	}
	return pids
}

// parentOf takes the parent out of a /proc/PID/stat: "pid (name) state ppid …", where the name may hold anything. 0 if it is not one.
func parentOf(stat []byte) int {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 {
		return 0
	}
	ppid, _ := strconv.Atoi(string(fields[1]))
	return ppid
}
