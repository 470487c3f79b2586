package interop

import (
	"fmt"
	"testing"
)

// Much data, one way after the other: with each side opening the connection, in both families, with and without offloads.
func TestBulk(t *testing.T) {
	inBothModes(t, func(t *testing.T, plain bool) {
		w := newWorld(t, options{plain: plain, noPool: true})
		n := size(256 << 20)
		defer w.checkPacketSizes(1500, plain)
		for _, f := range w.families {
			for _, d := range dials {
				p := d.open(w, f)
				up := w.transfer(p.kernel, p.weir, n)
				down := w.transfer(p.weir, p.kernel, n)
				gigabytes := float64(n) / 1e9
				t.Logf("%s, %s: %.2f GB/s kernel to weir, %.2f GB/s weir to kernel",
					f.name, d.name, gigabytes/up.Seconds(), gigabytes/down.Seconds())
			}
		}
	})
}

// checkPacketSizes checks that super-segments crossed, or, on a plain device, that none did.
func (w *world) checkPacketSizes(mtu uint64, plain bool) {
	w.t.Helper()
	st := w.tun.Stats()
	if st.TxPackets == 0 || st.RxPackets == 0 {
		w.t.Errorf("nothing crossed: %+v", st)
		return
	}
	// Acknowledgements, which are small, cross both ways too.
	if large := max(st.TxBytes/st.TxPackets, st.RxBytes/st.RxPackets) > mtu; large == plain {
		w.t.Errorf("%d bytes a packet out, %d in, plain is %v", st.TxBytes/st.TxPackets, st.RxBytes/st.RxPackets, plain)
	}
}

// Both ways at once, at every size of packet.
func TestMTU(t *testing.T) {
	for _, mtu := range []int{576, 1280, 1500, 9000, 65535} {
		t.Run(fmt.Sprint(mtu), func(t *testing.T) {
			inBothModes(t, func(t *testing.T, plain bool) {
				w := newWorld(t, options{mtu: mtu, plain: plain})
				for _, f := range w.families {
					for _, d := range dials {
						p := d.open(w, f)
						headers := 20 + 20 + 12 // IPv4, TCP, timestamps
						if f.weir.Is6() {
							headers += 20
						}
						if mss := p.weir.Info().SendMSS; mss != mtu-headers {
							t.Errorf("%s, %s: MSS %d, want %d", f.name, d.name, mss, mtu-headers)
						}
						w.together(exchange(p, size(4<<20))...)
					}
				}
			})
		})
	}
}

// Twenty connections at once, both ways on each.
func TestParallel(t *testing.T) {
	inBothModes(t, func(t *testing.T, plain bool) {
		w := newWorld(t, options{plain: plain})
		var all []func() error
		for i := range 20 {
			p := dials[i%2].open(w, w.families[i/2%2])
			all = append(all, exchange(p, size(4<<20))...)
		}
		w.together(all...)
	})
}
