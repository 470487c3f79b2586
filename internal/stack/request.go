package stack

import (
	"errors"
	"net/netip"
	"sync"
	"syscall"

	"github.com/weirnet/weir/internal/ip"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
)

// errDecided is what a second decision about a request gets.
var errDecided = errors.New("weir: the request was already accepted or rejected")

// request is what TCP and UDP requests share: one decision, and word of its being too late.
type request struct {
	stack *Stack

	mu       sync.Mutex
	decided  bool
	ended    bool // too late: RST, time-out or the stack's end
	counted  bool // no longer pending
	notifier Notifier
}

// SetNotifier says who is told Canceled when it is too late for a decision: at once, if it is already.
func (r *request) SetNotifier(n Notifier) {
	r.mu.Lock()
	r.notifier = n
	ended := r.ended
	r.mu.Unlock()
	if ended {
		n.Notify(Canceled)
	}
}

// decide takes the one decision; ECONNABORTED if it is too late.
func (r *request) decide() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.ended:
		return syscall.ECONNABORTED
	case r.decided:
		return errDecided
	}
	r.decided = true
	r.uncount()
	return nil
}

// uncount takes the request off the pending ones, once; r.mu is held.
func (r *request) uncount() {
	if !r.counted {
		r.counted = true
		r.stack.pending.Add(-1)
	}
}

// settle ends a request that never reached a handler.
func (r *request) settle() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.decided = true
	r.uncount()
}

// cancel makes every later decision too late and says so.
func (r *request) cancel(b *batch) (first bool) {
	r.mu.Lock()
	if r.ended {
		r.mu.Unlock()
		return false
	}
	r.ended = true
	r.uncount()
	n := r.notifier
	r.mu.Unlock()
	b.wake(n, Canceled)
	return true
}

// unreachableCode is the ICMP error that a rejection stands for; false if it is none.
func unreachableCode(err error) (ip.UnreachableCode, bool) {
	switch {
	case errors.Is(err, syscall.EHOSTUNREACH):
		return ip.HostUnreachable, true
	case errors.Is(err, syscall.ENETUNREACH):
		return ip.NetUnreachable, true
	case errors.Is(err, syscall.EACCES):
		return ip.Prohibited, true
	}
	return 0, false
}

// TCPRequest is a SYN that no listener took. It must be decided: Accept or Reject.
type TCPRequest struct {
	Src, Dst netip.AddrPort
	Iface    int
	request
	opening *opening
	syn     *packet.Packet // for ICMP errors to quote; under opening.mu
	conn    *TCP           // what Accept gave; under opening.mu
}

// Accept answers the SYN with SYN-ACK; t's Notifier is told ConnReady when the handshake is complete or has failed
// (then Canceled goes to the request's Notifier, too). The connection starts with these options; nil: the defaults. ECONNABORTED: it is
// too late.
func (r *TCPRequest) Accept(t *TCP, with *tcp.Options) error {
	if err := r.decide(); err != nil {
		return err
	}
	o, s := r.opening, r.stack
	o.mu.Lock()
	if o.dead {
		o.mu.Unlock()
		return syscall.ECONNABORTED
	}
	t.mu.Lock()
	t.init(s, o.flow.key, o.iface, o.foreign)
	t.mu.Unlock()
	r.conn = t
	r.dropPacket()
	o.deadline = sched.Never
	o.rec.Configure(s.cfg.TCP, with)
	o.send(func(reply *tcp.Segment) bool { o.rec.Open(s.now(), reply); return true })
	s.timers.Arm(&o.timer, o.rec.Deadline())
	o.mu.Unlock()
	s.flushAll()
	return nil
}

// Cancel ends a handshake that Accept began and that is not complete, with a RST. A complete one is its connection's to end.
func (r *TCPRequest) Cancel() {
	r.opening.shut()
	r.stack.flushAll()
}

// Reject refuses the SYN: ECONNREFUSED, ECONNRESET and nil by a RST; EHOSTUNREACH, ENETUNREACH and EACCES by that ICMP error;
// ETIMEDOUT by silence, in which retransmitted SYNs are absorbed as well.
func (r *TCPRequest) Reject(err error) error {
	if e := r.decide(); e != nil {
		return e
	}
	o, s := r.opening, r.stack
	o.mu.Lock()
	defer s.flushAll()
	defer o.mu.Unlock()
	if o.dead {
		return nil
	}
	switch code, ok := unreachableCode(err); {
	case errors.Is(err, syscall.ETIMEDOUT):
		if o.silent = s.remember(); o.silent {
			s.asked.Add(-1)
		}
	case ok && r.syn != nil:
		s.ip.Unreachable(s.now(), r.syn, code)
	default:
		o.send(func(reply *tcp.Segment) bool { o.rec.Refuse(reply); return true })
	}
	r.dropPacket()
	if !o.silent {
		o.remove()
	}
	return nil
}

// maxRefusals is how many refusals are remembered at once. Of one more nothing is kept: what comes of its flow next is a new request.
const maxRefusals = 16 << 10

// remember reports whether one more refusal may be remembered, which forget ends.
func (s *Stack) remember() bool {
	if s.refusals.Add(1) > maxRefusals {
		s.refusals.Add(-1)
		return false
	}
	return true
}

func (s *Stack) forget() { s.refusals.Add(-1) }

// Err returns ECONNABORTED once it is too late for the request.
func (r *request) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return syscall.ECONNABORTED
	}
	return nil
}

// end is the opening's word that it is over without a connection.
func (r *TCPRequest) end(b *batch) {
	if !r.cancel(b) {
		return
	}
	r.opening.mu.Lock()
	r.dropPacket()
	t := r.conn
	r.opening.mu.Unlock()
	if t != nil {
		b.wake(t.notifier, ConnReady)
	}
}

// release frees what only an undecided request needs.
func (r *TCPRequest) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notifier = nil
}

func (r *TCPRequest) dropPacket() {
	if r.syn != nil {
		r.syn.Release()
		r.syn = nil
	}
}
