package ip

import (
	"sync"
	"time"

	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

// Limits of reassembly, besides Config.Memory.
const (
	maxFragments   = 128  // in a datagram: 64 KiB in pieces of 512 bytes
	maxDatagrams   = 1024 // at a time
	fragmentCharge = 512  // bytes charged for a fragment besides its chunks: packet and bookkeeping
	datagramCharge = 256  // bytes charged for a datagram, spoiled ones too

	timeout4 = 30 * time.Second // RFC 791 §3.2 suggests 15 s, RFC 1122 §3.3.2 60 s to 120 s; kernels use 30 s
	timeout6 = 60 * time.Second // RFC 8200 §4.5
)

// datagramKey tells datagrams apart: RFC 791 §2.3 with the protocol, RFC 8200 §4.5 without.
type datagramKey struct {
	src, dst key
	id       uint32
	scope    int32
	protocol wire.Protocol
	v6       bool
}

// fragment is one piece of a datagram's payload: bytes begin to end, which are p's unread bytes, behind the fragment header in IPv6.
type fragment struct {
	begin, end int
	p          *packet.Packet
	next       wire.Protocol // IPv6: what the fragment header names
	named      int32         // IPv6: where the field is that named the fragment header
	more       bool
	ecn        uint8
}

// datagram is what reassembly gives back: the whole payload behind the first fragment's network header. p is nil if it is not whole.
type datagram struct {
	p     *packet.Packet
	size  int
	named int32
	next  wire.Protocol
	ecn   uint8
}

// partial is a datagram of which some fragments have come.
type partial struct {
	key        datagramKey
	created    sched.Time
	prev, next *partial   // in the family's list, oldest first
	frags      []fragment // by begin, without overlap
	held       int        // bytes of payload in frags
	size       int        // of the payload, once the last fragment has come; before that -1
	charge     int
	ecns       uint8 // bit per codepoint seen
	spoiled    bool  // overlapped: whatever more comes is dropped (RFC 5722 §4)
}

// partialList is all partials of a family. They time out in the order in which they came.
type partialList struct {
	oldest, newest *partial
	timeout        time.Duration
}

// reassembly puts fragments together. Its lock is held only over bookkeeping; packets are joined, released and complained about after.
type reassembly struct {
	layer *Layer
	node  sched.Node

	mu     sync.Mutex
	table  map[datagramKey]*partial
	lists  [2]partialList // IPv4, IPv6
	used   int            // bytes charged
	limit  int
	closed bool
}

func (r *reassembly) init(l *Layer, limit int) {
	r.layer, r.limit = l, limit
	r.table = map[datagramKey]*partial{}
	r.lists[0].timeout, r.lists[1].timeout = timeout4, timeout6
	r.node.Owner = (*reassemblyExpirer)(r)
}

// reassemblyExpirer keeps Expire out of reassembly's own methods.
type reassemblyExpirer reassembly

// Expire gives up on datagrams whose time is over, and says so to the senders of those whose first fragment came (RFC 792 p. 6,
// RFC 4443 §3.3).
func (x *reassemblyExpirer) Expire(now sched.Time) {
	r := (*reassembly)(x)
	if r.layer.cfg.Expired != nil {
		defer r.layer.cfg.Expired()
	}
	for _, d := range r.takeExpired(now) {
		if len(d.frags) > 0 && d.frags[0].begin == 0 {
			e := icmpError{typ: uint8(wire.ICMPv4TimeExceeded), code: wire.ICMPv4ReassemblyExceeded}
			if d.key.v6 {
				e = icmpError{typ: uint8(wire.ICMPv6TimeExceeded), code: wire.ICMPv6ReassemblyExceeded}
			}
			r.layer.sendError(now, d.frags[0].p, e)
		}
		release(d.frags)
	}
}

func release(frags []fragment) {
	for i := range frags {
		frags[i].p.Release()
	}
}

// takeExpired takes out all partials whose time is over.
func (r *reassembly) takeExpired(now sched.Time) []*partial {
	r.mu.Lock()
	defer r.mu.Unlock()
	var expired []*partial
	for i := range r.lists {
		list := &r.lists[i]
		for d := list.oldest; d != nil && d.created.Add(list.timeout) <= now; d = list.oldest {
			r.remove(d)
			if !d.spoiled {
				r.layer.count(0).reasmFails.Add(1)
			}
			expired = append(expired, d)
		}
	}
	r.arm()
	return expired
}

// arm sets the timer for the earliest end.
func (r *reassembly) arm() {
	at := sched.Never
	for i := range r.lists {
		if d := r.lists[i].oldest; d != nil {
			at = min(at, d.created.Add(r.lists[i].timeout))
		}
	}
	r.layer.timers.Arm(&r.node, at)
}

// close drops everything. What comes after is dropped at once.
func (r *reassembly) close() {
	r.mu.Lock()
	r.closed = true
	var all []*partial
	for i := range r.lists {
		for d := r.lists[i].oldest; d != nil; d = r.lists[i].oldest {
			r.remove(d)
			all = append(all, d)
		}
	}
	r.mu.Unlock()
	for _, d := range all {
		release(d.frags)
	}
}

// add takes a fragment, whose packet it owns from now on, and returns the datagram if that completes it.
func (r *reassembly) add(in *inbound, k datagramKey, f fragment) datagram {
	charge := f.p.Data().Footprint() + fragmentCharge
	r.mu.Lock()
	d, whole, dropped := r.insert(in, k, f, charge)
	r.mu.Unlock()
	release(dropped)
	if !whole {
		return datagram{}
	}
	return d.join(in)
}

// insert is add under the lock. It returns the partial if it is whole now (and then no longer the table's), and what to release.
func (r *reassembly) insert(in *inbound, k datagramKey, f fragment, charge int) (d *partial, whole bool, dropped []fragment) {
	refused := func() (*partial, bool, []fragment) { return nil, false, append(dropped, f) }
	if r.closed {
		return refused()
	}
	d = r.table[k]
	if d == nil {
		d = &partial{key: k, created: in.now, size: -1, charge: datagramCharge}
		dropped = r.makeRoom(in, nil, charge+datagramCharge)
		r.link(d)
	} else if d.spoiled {
		return refused()
	} else {
		dropped = r.makeRoom(in, d, charge)
	}
	at, fits := d.place(f)
	switch {
	case !fits || len(d.frags) == maxFragments || r.used+charge > r.limit:
		dropped = append(dropped, r.spoil(in, d)...)
		return refused()
	case at < 0: // a duplicate (RFC 8200 §4.5 lets those pass)
		return refused()
	}
	d.frags = append(d.frags, f)
	copy(d.frags[at+1:], d.frags[at:])
	d.frags[at] = f
	d.held += f.end - f.begin
	d.charge += charge
	r.used += charge
	d.ecns |= 1 << f.ecn
	if !f.more {
		d.size = f.end
	}
	if d.held != d.size { // without overlaps, as many bytes as there should be are all of them
		return nil, false, dropped
	}
	r.remove(d)
	r.arm()
	return d, true, dropped
}

// place finds where in d.frags a fragment goes; -1 if the very same range is there. It does not fit if it overlaps with another in part,
// or contradicts what is known of the end.
func (d *partial) place(f fragment) (at int, fits bool) {
	if d.size >= 0 && (f.end > d.size || !f.more && f.end != d.size) {
		return 0, false
	}
	n := len(d.frags)
	if !f.more && n > 0 && d.frags[n-1].end > f.end {
		return 0, false
	}
	at = n
	for at > 0 && d.frags[at-1].begin >= f.begin { // most come in order: from the end
		at--
	}
	if at < n && d.frags[at].begin == f.begin && d.frags[at].end == f.end && d.frags[at].more == f.more {
		return -1, true
	}
	if at < n && d.frags[at].begin < f.end || at > 0 && d.frags[at-1].end > f.begin {
		return 0, false
	}
	return at, true
}

// spoil drops what has come of d, and remembers until its timeout that nothing of it may be used (RFC 5722 §4, RFC 8200 §4.5).
func (r *reassembly) spoil(in *inbound, d *partial) []fragment {
	in.c.reasmFails.Add(1)
	frags := d.frags
	r.used -= d.charge - datagramCharge
	d.frags, d.held, d.charge, d.spoiled = nil, 0, datagramCharge, true
	return frags
}

// makeRoom gives up the oldest datagrams, except keep, until one more and charge bytes fit, and returns what to release.
func (r *reassembly) makeRoom(in *inbound, keep *partial, charge int) (dropped []fragment) {
	for r.used+charge > r.limit || keep == nil && len(r.table) >= maxDatagrams {
		d := r.oldest(keep)
		if d == nil {
			break
		}
		if !d.spoiled {
			in.c.reasmFails.Add(1)
		}
		r.remove(d)
		dropped = append(dropped, d.frags...)
	}
	return dropped
}

// oldest is the oldest partial of either family, except keep; nil if there is none.
func (r *reassembly) oldest(keep *partial) *partial {
	var best *partial
	for i := range r.lists {
		d := r.lists[i].oldest
		if d == keep && d != nil {
			d = d.next
		}
		if d != nil && (best == nil || d.created < best.created) {
			best = d
		}
	}
	return best
}

func (r *reassembly) list(d *partial) *partialList {
	if d.key.v6 {
		return &r.lists[1]
	}
	return &r.lists[0]
}

// link enters a new partial.
func (r *reassembly) link(d *partial) {
	r.table[d.key] = d
	r.used += d.charge
	list := r.list(d)
	if d.prev = list.newest; d.prev != nil {
		d.prev.next = d
		d.created = max(d.created, d.prev.created) // batches race: keep the list in order
	} else {
		list.oldest = d
	}
	list.newest = d
	if d.prev == nil {
		r.arm()
	}
}

// remove takes a partial out.
func (r *reassembly) remove(d *partial) {
	delete(r.table, d.key)
	r.used -= d.charge
	list := r.list(d)
	if d.prev != nil {
		d.prev.next = d.next
	} else {
		list.oldest = d.next
	}
	if d.next != nil {
		d.next.prev = d.prev
	} else {
		list.newest = d.prev
	}
	d.prev, d.next = nil, nil
}

// join makes one packet of all fragments of a whole datagram. RFC 3168 §5.3: congestion experienced by one is experienced by the whole,
// and must not get lost; mixed with fragments that say that the sender does not do ECN the packet is to be dropped. As on Linux, so is
// a mixture of these with ECT: something on the way has changed one or the other.
func (d *partial) join(in *inbound) datagram {
	first := &d.frags[0]
	whole := datagram{p: first.p, size: d.size, named: first.named, next: first.next, ecn: first.ecn}
	switch {
	case d.ecns&(1<<wire.NotECT) != 0 && d.ecns != 1<<wire.NotECT:
		in.c.reasmFails.Add(1)
		release(d.frags)
		return datagram{}
	case d.ecns&(1<<wire.CE) != 0:
		whole.ecn = wire.CE
	}
	data := first.p.Data()
	for i := range d.frags {
		p := d.frags[i].p
		if d.key.v6 {
			p.Data().TrimFront(wire.IPv6FragmentLen)
		}
		if i > 0 {
			data.Merge(p.Data())
			p.Release()
		}
	}
	first.p.Checksum = packet.ChecksumNone
	in.c.reasmOKs.Add(1)
	return whole
}
