package packet

import (
	"bytes"
	"slices"
	"testing"

	"github.com/weirnet/weir/buffer"
)

// Payload that was placed in the header block is payload like any other: of packets that are cloned, delivered, summed and taken apart.
func TestPlace(t *testing.T) {
	for _, size := range []int{0, 1, 64, 143, 144, 145, 300, 5000} {
		for _, state := range []Checksum{ChecksumNone, ChecksumPartial, ChecksumVerified} {
			bufs := buffer.NewPool(buffer.Options{Check: true})
			pool := NewPool(bufs)
			payload := make([]byte, size)
			for i := range payload {
				payload[i] = byte(i * 7)
			}
			p := pool.Get()
			p.Place(payload)
			if chunks, _ := bufs.Outstanding(); (chunks == 0) != (size <= 144) {
				t.Errorf("%d bytes: %d chunks", size, chunks)
			}
			copy(p.Push(Transport, 8), "transpor")
			copy(p.Push(Network, 20), "the network's header")
			p.Checksum, p.CsumStart, p.CsumOffset = state, 20, 6
			want := append([]byte("the network's headertranspor"), payload...)
			q := p.Clone()
			var tail buffer.Buffer
			if !p.PayloadSince(Transport, &tail) || !bytes.Equal(tail.Flatten(), want[20:]) {
				t.Errorf("%d bytes: other bytes since the transport header", size)
			}
			tail.Release()
			for _, r := range []*Packet{p, q} {
				if r.Size() != len(want) || !bytes.Equal(slices.Concat(r.Vec(nil)...), want) || r.HeaderSize() != 28 {
					t.Errorf("%d bytes: %d in all, %d of headers", size, r.Size(), r.HeaderSize())
				}
				if n, _ := r.Unread(); n != size {
					t.Errorf("%d bytes: %d unread", size, n)
				}
				r.Deliverable()
				if !r.FinishChecksum() || (state == ChecksumPartial) == bytes.Equal(slices.Concat(r.Vec(nil)...)[:28], want[:28]) {
					t.Errorf("%d bytes: the checksum is not as it should be", size)
				}
				r.Consume(Network, 20)
				r.Consume(Transport, 8)
				var dst buffer.Buffer
				r.MoveUnread(&dst, r == q)
				if n, footprint := r.Unread(); n != 0 || footprint != 0 || !bytes.Equal(dst.Flatten(), payload) || r.HeaderSize() != 28 {
					t.Errorf("%d bytes: %d left, %d moved", size, n, dst.Size())
				}
				dst.Release()
				r.Release()
			}
			if err := bufs.Leaked(); err != nil || pool.Outstanding() != 0 {
				t.Errorf("%d bytes: %v", size, err)
			}
		}
	}
}

// A packet with payload already gets more at its end.
func TestPlaceTwice(t *testing.T) {
	p := NewPool(nil).Get()
	var want []byte
	for _, n := range []int{3, 100, 100, 5} {
		b := bytes.Repeat([]byte{byte(n)}, n)
		p.Place(b)
		want = append(want, b...)
	}
	if got := slices.Concat(p.Vec(nil)...); !bytes.Equal(got, want) {
		t.Errorf("%x", got)
	}
}
