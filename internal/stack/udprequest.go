package stack

import (
	"errors"
	"net/netip"
	"syscall"
	"time"

	"github.com/weirnet/weir/internal/ip"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
)

const (
	requestDatagrams = 16       // wait for a handler
	requestBytes     = 64 << 10 // of chunk capacity do
	rejectMemory     = time.Second
)

// UDPRequest is the first datagram of a flow that no socket took. It must be decided: Accept or Reject. Up to 16 datagrams or 64 KiB wait
// meanwhile, and go to the accepted socket.
type UDPRequest struct {
	Src, Dst netip.AddrPort
	Iface    int
	request
	flow  flow
	timer sched.Node

	// Under request.mu:
	queue    datagrams
	first    *packet.Packet // for an ICMP error to quote
	foreign  bool           // the local address is ours only by AnyDestination
	rejected ip.UnreachableCode
	refusing bool // answers with the ICMP error
	silent   bool // answers nothing
	gone     bool // out of the table
}

// requestUDP asks a handler about the first datagram of a flow. It owns p.
func (s *Stack) requestUDP(handle func(*UDPRequest), now sched.Time, p *packet.Packet, k *flowKey, m *ip.Meta, segment uint16) {
	if s.pending.Add(1) > int64(s.cfg.MaxPending) {
		s.pending.Add(-1)
		size, _ := p.Unread()
		s.stats.requestDrops.Add(uint64(segments(size, int(segment))))
		p.Release()
		return
	}
	r := &UDPRequest{
		Src: s.zonedPort(k.remoteAddr(), m.Scope), Dst: s.zonedPort(k.localAddr(), m.Scope), Iface: m.Iface,
		request: request{stack: s}, foreign: m.Foreign,
	}
	r.flow = flow{key: *k, owner: r}
	r.timer.Owner = r
	r.queue.init(s)
	r.first = p.Clone()
	size, _ := p.Unread()
	if !r.queue.add(p, r.Src, segment, requestBytes, 0) {
		s.stats.udpOverflow.Add(uint64(segments(size, int(segment))))
	}
	p.Release()
	if !s.flows.insert(&r.flow) { // another goroutine was faster with a datagram of the flow: this one is lost
		r.settle()
		r.drop()
		return
	}
	s.timers.Arm(&r.timer, now.Add(decideWithin))
	handle(r)
	if s.closed.Load() { // Close may have missed it
		r.shut()
	}
}

// take queues a further datagram of the flow; false: answer port unreachable.
func (r *UDPRequest) take(p *packet.Packet, src netip.AddrPort, _ uint8, segment uint16, _ *batch) bool {
	size, _ := p.Unread()
	segs := segments(size, int(segment))
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.refusing:
		if r.rejected == ip.PortUnreachable {
			return false
		}
		r.stack.ip.Unreachable(r.stack.now(), p, r.rejected)
	case r.silent, r.gone, r.queue.count()+segs > requestDatagrams, !r.queue.add(p, src, segment, requestBytes, 0):
		r.stack.stats.udpOverflow.Add(uint64(segs))
	}
	return true
}

// Accept makes u the flow's socket; the datagrams that wait are its to read.
func (r *UDPRequest) Accept(u *UDP) error {
	if err := r.decide(); err != nil {
		return err
	}
	s := r.stack
	u.init(s, r.foreign)
	u.connect(r.flow.key, 0)
	if err := r.handOver(u); err != nil {
		return err
	}
	return u.unlessClosed() // Close may have met the request in the table, and not the socket
}

// handOver puts u in the request's place.
func (r *UDPRequest) handOver(u *UDP) error {
	s := r.stack
	r.mu.Lock()
	defer r.mu.Unlock()
	u.mu.Lock()
	defer u.mu.Unlock()
	s.timers.Cancel(&r.timer)
	if r.gone || !s.flows.replace(&r.flow, &u.flow) {
		return syscall.ECONNABORTED
	}
	r.gone = true
	s.udpChanges.Add(1)
	u.in.take(&r.queue)
	r.drop()
	return nil
}

// Reject answers port unreachable (ECONNREFUSED, ECONNRESET, nil), that ICMP error (EHOSTUNREACH, ENETUNREACH, EACCES) or nothing
// (ETIMEDOUT), and so for what comes within the next second.
func (r *UDPRequest) Reject(err error) error {
	if e := r.decide(); e != nil {
		return e
	}
	s := r.stack
	r.mu.Lock()
	r.rejected = ip.PortUnreachable
	if code, ok := unreachableCode(err); ok {
		r.rejected = code
	}
	silent := errors.Is(err, syscall.ETIMEDOUT)
	if !silent && r.first != nil {
		s.ip.Unreachable(s.now(), r.first, r.rejected)
	}
	r.drop()
	switch {
	case r.gone:
	case s.remember():
		r.silent, r.refusing = silent, !silent
		s.timers.Arm(&r.timer, s.now().Add(rejectMemory))
	default:
		s.timers.Cancel(&r.timer)
		r.leave()
	}
	r.mu.Unlock()
	s.relieve()
	s.flushAll()
	return nil
}

// Expire is the timer's call: the rejection is forgotten, or the handler took too long.
func (r *UDPRequest) Expire(sched.Time) { r.end() }

func (r *UDPRequest) shut() {
	r.stack.timers.Cancel(&r.timer)
	r.end()
}

// end is the end of a request, or of the memory of its rejection. That of one accepted, of which a late timer does not know, was before.
func (r *UDPRequest) end() {
	r.mu.Lock()
	gone := r.gone
	r.leave()
	r.mu.Unlock()
	if !gone {
		r.cancel(nil)
		r.stack.relieve()
	}
}

// leave takes the request out of the table and gives back what waits; r.mu is held.
func (r *UDPRequest) leave() {
	if r.gone {
		return
	}
	r.gone = true
	r.stack.flows.remove(&r.flow)
	r.drop()
	if r.silent || r.refusing {
		r.stack.forget()
	}
}

// drop gives back what waits; r.mu is held.
func (r *UDPRequest) drop() {
	r.stack.stats.udpUnread.Add(uint64(r.queue.drop()))
	if r.first != nil {
		r.first.Release()
		r.first = nil
	}
}
