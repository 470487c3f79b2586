package emul

import (
	"encoding/binary"
	"time"

	"github.com/weirnet/weir/checksum"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

// maxJitter is a century: any more would overflow.
const maxJitter = 100 * 365 * 24 * time.Hour

// admit takes one packet through the stages that the package's documentation lists, with d.mu held.
func (d *Device) admit(p *packet.Packet, now sched.Time) {
	if p.GSO != packet.GSONone || !p.FinishChecksum() {
		d.stats.Dropped++
		p.Release()
		return
	}
	size := p.Size()
	long := size - len(p.Header(packet.Link))
	if d.config.Down || d.config.MTU > 0 && long > d.config.MTU {
		if d.config.Down {
			d.stats.Lost++
		} else {
			d.stats.TooLong++
		}
		p.Release()
		return
	}
	if !d.line.room(size, now, d.blocked) {
		d.stats.QueueDrops++
		p.Release()
		return
	}
	if d.config.Mark > 0 && d.line.waiting(now) > int64(d.config.Mark) && mark(p) {
		d.stats.Marked++
	}
	departure := d.line.depart(long, now)
	if d.chance(d.config.Loss) {
		d.stats.Lost++
		p.Release()
		return
	}
	p.Checksum = packet.ChecksumNone // whoever vouched for it did not know this link
	var twin *packet.Packet
	if d.chance(d.config.Duplicate) {
		d.stats.Duplicated++
		twin = p.Clone()
	}
	if d.chance(d.config.Corrupt) && size > 0 {
		d.stats.Corrupted++
		d.corrupt(p, size)
	}
	at := d.line.arrival(departure, d.jitter())
	if d.chance(d.config.Reorder) && d.line.hold(p, size, at, 1+d.random.IntN(d.line.depth)) {
		d.stats.Reordered++
	} else {
		d.line.push(p, size, at)
	}
	if twin != nil {
		d.line.push(twin, size, at)
	}
}

func (d *Device) chance(p float64) bool { return p > 0 && d.random.Float64() < p }

// jitter draws from -Jitter to +Jitter.
func (d *Device) jitter() time.Duration {
	j := min(d.line.jitter, maxJitter)
	if j == 0 {
		return 0
	}
	return time.Duration(d.random.Int64N(2*int64(j)+1)) - j
}

// mark sets CE in a packet of an ECN-capable transport; false if it is none, or no packet of which the header is known.
func mark(p *packet.Packet) bool {
	const notECT, ce = 0, 3
	h := p.Header(packet.Network)
	if len(h) == 0 {
		return false
	}
	p.WritableHeaders()
	switch h = p.Header(packet.Network); wire.IPVersion(h) {
	case 4:
		v4 := wire.IPv4(h)
		if len(h) < wire.IPv4MinLen || v4.ECN() == notECT {
			return false
		}
		old := binary.BigEndian.Uint16(h)
		v4.SetECN(ce)
		v4.SetChecksum(checksum.Update16(v4.Checksum(), old, binary.BigEndian.Uint16(h)))
	case 6:
		v6 := wire.IPv6(h)
		if len(h) < wire.IPv6Len || v6.ECN() == notECT {
			return false
		}
		v6.SetECN(ce)
	default:
		return false
	}
	return true
}

// corrupt flips a bit of p's own copy of the byte that it is in.
func (d *Device) corrupt(p *packet.Packet, size int) {
	bit := d.random.IntN(8 * size)
	p.Deliverable() // all headers become plain bytes, wherever they lay
	data := p.Data()
	if data.Writable(bit/8, 1) {
		data.SubApply(bit/8, 1, func(b []byte) { b[0] ^= 1 << (bit % 8) })
	}
}
