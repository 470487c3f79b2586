package weir_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/link/pipe"
)

// floodLinks are the pipes that datagrams are sent over.
var floodLinks = []struct {
	name string
	o    pipe.Options
}{{"super-segments", pipe.Options{}}, {"packets", pipe.Options{NoOffload: true}}}

// BenchmarkUDPFlood sends datagrams of 64 bytes as fast as it goes, batch of them a call, to a reader on a goroutine of its own. The time is
// that for a datagram to be sent; delivered/s counts those that were read.
func BenchmarkUDPFlood(b *testing.B) {
	for _, l := range floodLinks {
		for _, batch := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/%d", l.name, batch), func(b *testing.B) {
				s, d := newPair(b, weir.Config{}, l.o)
				x, y := udpSockets(b, s, d)
				var read atomic.Int64
				go drainUDP(y, batch, &read)
				out := datagrams(batch, 64)
				for b.Loop() {
					var err error
					if batch == 1 {
						_, err = x.Write(out[0].Data)
					} else {
						_, err = x.WriteBatch(out)
					}
					if err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/datagram")
				b.ReportMetric(float64(read.Load())/b.Elapsed().Seconds(), "delivered/s")
			})
		}
	}
}

// drainUDP reads, batch datagrams a call, until there is an error.
func drainUDP(u *weir.UDPConn, batch int, read *atomic.Int64) {
	in := datagrams(batch, 2048)
	for {
		n, err := 1, error(nil)
		if batch == 1 {
			_, err = u.Read(in[0].Data)
		} else {
			n, err = u.ReadBatch(in)
		}
		if err != nil {
			return
		}
		read.Add(int64(n))
	}
}

// TestUDPFloodAccounts floods a reader on another goroutine with all kinds of calls. What was sent is read, or counted as dropped.
func TestUDPFloodAccounts(t *testing.T) {
	for _, l := range floodLinks {
		for _, batch := range []int{1, 64} {
			s, d := newPair(t, weir.Config{}, l.o)
			x, y := udpSockets(t, s, d)
			y.SetReadBuffer(64 << 10)
			var read atomic.Int64
			over := make(chan struct{})
			go func() {
				defer close(over)
				drainUDP(y, batch, &read)
			}()
			out := datagrams(batch, 64)
			sent := 0
			for range 20_000 / batch {
				if _, err := x.WriteBatch(out); err != nil {
					t.Fatal(err)
				}
				if _, err := x.Write(out[0].Data); err != nil {
					t.Fatal(err)
				}
				sent += batch + 1
			}
			outs := s.Stats().UDP.DatagramsOut
			s.Close() // what a queue's helper still has is sent before
			y.Close()
			<-over
			st := d.Stats().UDP
			if got := uint64(read.Load()) + st.Overflow + st.Unread; outs != uint64(sent) || st.DatagramsIn != uint64(sent) || got != uint64(sent) {
				t.Errorf("%s, %d a call: %d sent, %d read, %+v", l.name, batch, sent, read.Load(), st)
			}
		}
	}
}
