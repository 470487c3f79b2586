package emul

import (
	"slices"
	"testing"
	"time"

	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/wire"
)

func TestReorderDepth(t *testing.T) {
	b := newBench(t, Config{Reorder: 0.01, ReorderDepth: 100, Rate: 100_000_000, Seed: 4})
	b.sendEvery(80*time.Microsecond, 5000, 1000)
	top, deepest := -1, 0
	for i, a := range b.got {
		if a.number < top {
			overtaken := 0
			for _, o := range b.got[:i] {
				if o.number > a.number {
					overtaken++
				}
			}
			deepest = max(deepest, overtaken)
		}
		top = max(top, a.number)
	}
	if deepest < 80 || deepest > 102 || len(b.got) != 5000 {
		t.Errorf("overtaken by up to %d, want nearly 100", deepest)
	}
}

func TestSetConfigWhilePacketsPass(t *testing.T) {
	b := newBench(t, Config{Delay: 10 * time.Millisecond})
	b.send(1, 100)
	b.dev.SetConfig(Config{Down: true})
	b.send(1, 100)
	b.dev.SetConfig(Config{MTU: 500})
	b.send(1, 501)
	b.send(1, 500)
	b.dev.SetConfig(Config{Rate: 8_000_000, Delay: time.Millisecond})
	b.send(2, 1000)
	if n := b.dev.Waiting(); n != 2000 {
		t.Errorf("%d bytes wait, want both packets", n)
	}
	b.clock.Advance(time.Minute)
	// Packets that the link carries in order stay in order: those after the first arrive behind it.
	want := []arrival{{0, 10_000_000}, {3, 10_000_000}, {4, 10_000_000}, {5, 10_000_000}}
	if !slices.Equal(b.got, want) {
		t.Errorf("%v, want %v", b.got, want)
	}
	if s := b.dev.Stats(); s.Lost != 1 || s.TooLong != 1 || b.dev.Waiting() != 0 {
		t.Errorf("%+v", s)
	}
}

func TestMark(t *testing.T) {
	for _, v := range []int{4, 6} {
		b := newBench(t, Config{Rate: 8_000_000, Mark: 2500})
		var codepoints []uint8
		b.check = func(p *packet.Packet) {
			h, _ := p.Peek(40)
			if v == 6 {
				codepoints = append(codepoints, wire.IPv6(h).ECN())
				return
			}
			codepoints = append(codepoints, wire.IPv4(h).ECN())
			if !wire.IPv4(h).VerifyChecksum() {
				t.Error("a wrong header checksum")
			}
		}
		for i, ecn := range []uint8{2, 1, 2, 0, 1} {
			p := b.pool.Get()
			p.Data().Append(make([]byte, 980))
			if v == 6 {
				wire.PutIPv6(p.Push(packet.Network, 40), wire.IPv6Fields{PayloadLen: 980, TrafficClass: ecn})
			} else {
				h := wire.PutIPv4(p.Push(packet.Network, 20), wire.IPv4Fields{TotalLen: 1000, TOS: ecn, TTL: uint8(i)})
				h.SetChecksum(h.ComputeChecksum())
			}
			if _, err := b.dev.WritePackets(0, []*packet.Packet{p}); err != nil {
				t.Fatal(err)
			}
		}
		b.clock.Advance(time.Second)
		if want := []uint8{2, 1, 2, 0, 3}; !slices.Equal(codepoints, want) || b.dev.Stats().Marked != 1 {
			t.Errorf("IPv%d: codepoints %v, want %v", v, codepoints, want)
		}
	}
}
