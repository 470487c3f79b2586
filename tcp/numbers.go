package tcp

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/weirnet/weir/internal/siphash"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

// ResetFor fills reply with the RST that a segment to no connection deserves (RFC 9293 §3.10.7.1); false for a RST.
func ResetFor(seg, reply *Segment) bool {
	switch {
	case seg.Flags&wire.RST != 0:
		return false
	case seg.Flags&wire.ACK != 0:
		fill(reply, seg.Ack, 0, wire.RST, 0)
	default:
		fill(reply, 0, seg.end(), wire.RST|wire.ACK, 0)
	}
	return true
}

// ResetFromListen is ResetFor in LISTEN, for what is not to open a connection (RFC 9293 §3.10.7.2): "Any acknowledgment is bad if it
// arrives on a connection still in the LISTEN state"; what has none is dropped.
func ResetFromListen(seg, reply *Segment) bool {
	return seg.Flags&wire.ACK != 0 && ResetFor(seg, reply)
}

// Numbers gives initial sequence numbers (RFC 6528) and timestamp offsets (RFC 7323 §5.4) that strangers cannot predict.
type Numbers struct{ Key siphash.Key }

// issTick is the time in which the initial sequence number of a tuple grows by one (RFC 9293 §3.4.1).
const issTick = 4 * time.Microsecond

// What a hash is for goes into it, so that knowing one tells nothing about the other.
const (
	numberISS        = 1
	numberTSOffset   = 2
	numberCookie     = 3
	numberCookieMask = 4
	numberFastOpen   = 5
)

// ISS returns the initial sequence number for a connection that begins now: M + F(addresses, ports, key) of RFC 6528 §3. For one tuple
// it grows with time, and tuples have nothing to do with each other.
func (n *Numbers) ISS(now sched.Time, local, remote netip.AddrPort) Seq {
	return Seq(uint64(now)/uint64(issTick)) + Seq(n.hash(numberISS, local, remote))
}

// TSOffset returns Params.TSOffset for a tuple. It is the same for each incarnation, so that timestamps go on growing from one to the
// next (RFC 6191).
func (n *Numbers) TSOffset(local, remote netip.AddrPort) uint32 {
	return uint32(n.hash(numberTSOffset, local, remote))
}

// hash is a keyed hash of the tuple; IPv4 addresses and those mapped into IPv6 are the same.
func (n *Numbers) hash(purpose byte, local, remote netip.AddrPort) uint64 {
	var b [37]byte
	l, r := local.Addr().As16(), remote.Addr().As16()
	copy(b[:], l[:])
	copy(b[16:], r[:])
	binary.BigEndian.PutUint16(b[32:], local.Port())
	binary.BigEndian.PutUint16(b[34:], remote.Port())
	b[36] = purpose
	return n.Key.Sum(b[:])
}
