package tun

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/weirnet/weir/internal/nstest"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
)

// Close ends the reading of a queue that is never empty.
func TestCloseInFlood(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		nstest.TUN(t)
		d, err := Open("weir0", Options{})
		if err != nil {
			t.Fatal(err)
		}
		nstest.Addr(t, "weir0", kernel4.String()+"/24")
		s, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(ours4, 7)))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		flood := func() {
			for range 2 * batchPackets {
				s.Write([]byte("more"))
			}
		}
		begun, over := make(chan bool, 1), make(chan bool)
		err = d.Attach(link.Sink{
			Packets: packet.NewPool(nil), Clock: sched.Real(),
			Deliver: func(_ int, batch []*packet.Packet) {
				flood() // before the next look there is more than a batch again
				for _, p := range batch {
					p.Release()
				}
				select {
				case begun <- true:
				default:
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		flood()
		<-begun
		go func() {
			defer close(over)
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}()
		select {
		case <-over:
		case <-time.After(patience):
			t.Fatal("Close does not end")
		}
	})
}
