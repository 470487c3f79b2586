package tcptest

import (
	"container/heap"
	"time"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/wire"
)

// ipHeader is what a packet on a Link is longer than its TCP segment.
const ipHeader = 20

// Link is one direction of the way between two ends. The zero Link is perfect and takes no time.
type Link struct {
	Delay     time.Duration // of every packet
	Jitter    time.Duration // up to so much more: packets may overtake each other
	Loss      float64       // share of packets lost, 0…1
	Duplicate float64       // share delivered twice
	Reorder   float64       // share held back for up to a whole Delay (1 ms at least)
	Rate      int64         // bits per second of packets with IP header; 0: unlimited
	Queue     int           // bytes that wait for a Link with a Rate before packets are lost; 0: unlimited
	Mark      float64       // share of ECN-capable packets that get CE
	GSO       bool          // super-segments pass whole; else they are cut into the packets of a wire
}

// packet is a segment on its way: a TCP header as on the wire, and a payload.
type packet struct {
	to      int // end
	at      sched.Time
	order   uint64
	segs    int
	ecn     uint8
	header  []byte
	payload buffer.Buffer
}

// encode makes packets of a segment, one or, if cut is set and it is a super-segment, several. It takes the payload.
func encode(seg *tcp.Segment, cut bool) []*packet {
	if seg.GSOSize == 0 || seg.Payload.Size() <= seg.GSOSize || !cut {
		segs := 1
		if seg.GSOSize > 0 {
			segs = max(1, (seg.Payload.Size()+seg.GSOSize-1)/seg.GSOSize)
		}
		return []*packet{encodeOne(seg, segs)}
	}
	var ps []*packet
	flags, size := seg.Flags, seg.GSOSize
	rest := &seg.Payload
	for rest.Size() > 0 {
		piece := tcp.Segment{Seq: seg.Seq, Ack: seg.Ack, Flags: flags, Window: seg.Window, Options: seg.Options, ECN: seg.ECN}
		seg.Seq += tcp.Seq(rest.MoveTo(&piece.Payload, size))
		if rest.Size() > 0 {
			piece.Flags &^= wire.FIN | wire.PSH
		}
		if !seg.ACE {
			flags &^= wire.CWR
		}
		ps = append(ps, encodeOne(&piece, 1))
	}
	return ps
}

func encodeOne(seg *tcp.Segment, segs int) *packet {
	p := &packet{segs: segs, ecn: seg.ECN, header: make([]byte, seg.HeaderLen())}
	seg.PutHeader(p.header, 1, 2)
	seg.Payload.MoveTo(&p.payload, seg.Payload.Size())
	return p
}

// decode makes a segment of p, and takes its payload.
func (p *packet) decode(seg *tcp.Segment) error {
	h, err := wire.ParseTCP(p.header, len(p.header)+p.payload.Size())
	if err != nil {
		return err
	}
	tcp.ParseSegment(h, seg)
	seg.Segs, seg.ECN = p.segs, p.ecn
	p.payload.MoveTo(&seg.Payload, p.payload.Size())
	return nil
}

// size is the bytes that p takes on the wire: each segment of a super-segment has headers of its own there.
func (p *packet) size() int { return p.payload.Size() + p.segs*(len(p.header)+ipHeader) }

func (p *packet) clone() *packet {
	c := &packet{to: p.to, segs: p.segs, ecn: p.ecn, header: p.header}
	p.payload.ShareTo(&c.payload, 0, p.payload.Size())
	return c
}

// direction is a Link in use.
type direction struct {
	Link
	free sched.Time // when it has sent what it was given
}

// send decides what becomes of p: how many copies arrive, and when.
func (d *direction) send(r *random, now sched.Time, p *packet, deliver func(*packet, sched.Time)) {
	begin := max(now, d.free)
	end := begin
	if d.Rate > 0 {
		waiting := int64(begin.Sub(now)) * (d.Rate / 8) / int64(time.Second)
		if d.Queue > 0 && waiting+int64(p.size()) > int64(d.Queue) {
			p.payload.Release()
			return
		}
		end = begin.Add(time.Duration(int64(p.size()) * 8 * int64(time.Second) / d.Rate))
		d.free = end
	}
	if d.Duplicate > 0 && r.chance(d.Duplicate) {
		deliver(p.clone(), d.arrival(r, end))
	}
	if r.chance(d.Loss) {
		p.payload.Release()
		return
	}
	if d.Mark > 0 && p.ecn != wire.NotECT && r.chance(d.Mark) {
		p.ecn = wire.CE
	}
	deliver(p, d.arrival(r, end))
}

func (d *direction) arrival(r *random, sent sched.Time) sched.Time {
	at := sent.Add(d.Delay + time.Duration(r.below(int64(d.Jitter)+1)))
	if r.chance(d.Reorder) {
		at = at.Add(time.Duration(r.below(int64(max(d.Delay, time.Millisecond)))))
	}
	return at
}

// flight is the packets on their way, the first to arrive first.
type flight []*packet

func (f flight) Len() int { return len(f) }
func (f flight) Less(i, j int) bool {
	return f[i].at < f[j].at || f[i].at == f[j].at && f[i].order < f[j].order
}
func (f flight) Swap(i, j int) { f[i], f[j] = f[j], f[i] }
func (f *flight) Push(x any)   { *f = append(*f, x.(*packet)) }
func (f *flight) Pop() any {
	last := len(*f) - 1
	p := (*f)[last]
	(*f)[last] = nil
	*f = (*f)[:last]
	return p
}

var _ heap.Interface = (*flight)(nil)
