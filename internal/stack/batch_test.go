package stack

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/wire"
)

// batched is a peer whose segments are delivered in one batch. The tap claims to join segments itself, so that each comes up alone, as the
// super-segments of TUN do.
func batched(t *testing.T) (h *host, d *tap, c *TCP, p *peer) {
	h = newHost(t, Config{})
	d = newTap()
	d.info.Offloads = link.RxJoined | link.TxChecksum | link.TxTSO4
	if _, err := h.AddInterface(InterfaceConfig{Device: d, Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}}); err != nil {
		t.Fatal(err)
	}
	c, p = h.connect(d, "192.0.2.9:80", Bound{})
	return h, d, c, p
}

// segment is the next segment of p, not sent.
func (p *peer) segment(data string) []byte {
	b := tcpPacket(p.src, p.dst, wire.ACK, p.seq, p.ack, data)
	p.seq += uint32(len(data))
	return b
}

// What comes in one batch is acknowledged once, from the first segment on (while each ACK is quick) and later; what is out of order, each
// time (RFC 5681 §4.2); and again once what came in order when the hole is filled.
func TestOneAckABatch(t *testing.T) {
	_, d, c, p := batched(t)
	full := strings.Repeat("x", 1400)
	for round := range 30 {
		var batch [][]byte
		for range 8 {
			batch = append(batch, p.segment(full))
		}
		d.inject(batch...)
		if h := p.receive(); h.Ack() != p.seq || h.Flags() != wire.ACK {
			t.Fatalf("round %d: %v up to %d, want an ACK up to %d", round, h.Flags(), h.Ack(), p.seq)
		}
		if _, err := c.Discard(1 << 20); err != nil {
			t.Fatal(err)
		}
		d.take() // perhaps a window update
	}
	hole := p.segment(full)
	d.inject(p.segment(full), p.segment(full), p.segment(full))
	if n := len(d.take()); n != 3 {
		t.Errorf("%d ACKs for three segments out of order, want 3", n)
	}
	d.inject(hole)
	if h := p.receive(); h.Ack() != p.seq {
		t.Errorf("ACK up to %d, want %d", h.Ack(), p.seq)
	}
}

// ACKs that come in one batch let go at its end what all of them together allow, in one super-segment.
func TestOneOutputABatch(t *testing.T) {
	_, d, c, p := batched(t)
	if _, err := c.Write(make([]byte, 100<<10)); err != nil {
		t.Fatal(err)
	}
	first := p.receive()
	data := len(first) - first.DataOffset()
	if data < 5*1400 {
		t.Fatalf("%d bytes were sent at first", data)
	}
	var acks [][]byte
	for at := 1400; at <= data; at += 1400 {
		p.ack = first.Seq() + uint32(at)
		acks = append(acks, p.segment(""))
	}
	d.inject(acks...)
	next := p.receive() // which fails if there are more
	if n := len(next) - next.DataOffset(); n < data {
		t.Errorf("%d bytes follow upon %d ACKs of %d bytes", n, len(acks), data)
	}
}

// A batch with more connections than it keeps in mind does what it must for each of them.
func TestBatchOfManyConnections(t *testing.T) {
	h := newHost(t, Config{})
	_, d := h.attach(InterfaceConfig{}, "192.0.2.1/24")
	var peers []*peer
	for range 2*len(batch{}.late) + 3 {
		_, p := h.connect(d, "192.0.2.9:80", Bound{})
		peers = append(peers, p)
	}
	for range 3 { // the list of a batch is empty again after it
		var all [][]byte
		for range 2 {
			for _, p := range peers {
				all = append(all, p.segment("data"))
			}
		}
		d.inject(all...)
		acked := map[uint16]uint32{}
		for _, b := range d.take() {
			in := parse(b).tcp()
			acked[in.SrcPort()] = in.Ack()
		}
		for _, p := range peers {
			if acked[p.dst.Port()] != p.seq {
				t.Fatalf("port %d: ACK up to %d, want %d", p.dst.Port(), acked[p.dst.Port()], p.seq)
			}
		}
	}
}
