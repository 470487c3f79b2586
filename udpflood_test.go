package weir_test

import (
	"context"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/link/pipe"
)

// BenchmarkUDPFlood sends datagrams of 64 bytes as fast as it goes to a reader on a goroutine of its own. The time is that of a Write;
// delivered/s counts those that were read.
func BenchmarkUDPFlood(b *testing.B) {
	for name, o := range map[string]pipe.Options{"offloads": {MTU: 65535}, "packets": {NoOffload: true}} {
		b.Run(name, func(b *testing.B) {
			s, d := newPair(b, weir.Config{}, o)
			u, err := d.ListenUDP(netip.AddrPortFrom(addrB4, 9))
			if err != nil {
				b.Fatal(err)
			}
			c, err := s.DialUDP(context.Background(), netip.AddrPort{}, netip.AddrPortFrom(addrB4, 9))
			if err != nil {
				b.Fatal(err)
			}
			var read atomic.Int64
			go func() {
				p := make([]byte, 2048)
				for {
					if _, err := u.Read(p); err != nil {
						return
					}
					read.Add(1)
				}
			}()
			p := make([]byte, 64)
			for b.Loop() {
				if _, err := c.Write(p); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(read.Load())/b.Elapsed().Seconds(), "delivered/s")
		})
	}
}
