package emul

import (
	"time"

	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
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
	if !d.line.room(size, now, d.blocked) {
		d.stats.QueueDrops++
		p.Release()
		return
	}
	departure := d.line.depart(size-len(p.Header(packet.Link)), now)
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
	if d.chance(d.config.Reorder) && d.line.hold(p, size, at, 1+d.random.IntN(maxOvertakers)) {
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

// corrupt flips a bit of p's own copy of the byte that it is in.
func (d *Device) corrupt(p *packet.Packet, size int) {
	bit := d.random.IntN(8 * size)
	p.Deliverable() // all headers become plain bytes, wherever they lay
	data := p.Data()
	if data.Writable(bit/8, 1) {
		data.SubApply(bit/8, 1, func(b []byte) { b[0] ^= 1 << (bit % 8) })
	}
}
