package interop

import (
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/wire"
)

// marker is a device in which congestion is experienced by one in every ECN-capable packets, each way.
type marker struct {
	link.Device
	every    int64
	out, in  atomic.Int64 // ECN-capable packets that passed
	outMarks atomic.Int64
	inMarks  atomic.Int64
}

func (m *marker) wrap(inner link.Device) link.Device {
	m.Device = inner
	return m
}

func (m *marker) Attach(s link.Sink) error {
	deliver := s.Deliver
	s.Deliver = func(queue int, batch []*packet.Packet) {
		for _, p := range batch {
			p.Data().Writable(0, wire.IPv6Len)
			if b, ok := p.Peek(wire.IPv6Len); ok {
				m.mark(b, &m.in, &m.inMarks)
			}
		}
		deliver(queue, batch)
	}
	return m.Device.Attach(s)
}

func (m *marker) WritePackets(queue int, batch []*packet.Packet) (int, error) {
	for _, p := range batch {
		if h := p.Header(packet.Network); h != nil {
			p.WritableHeaders()
			m.mark(p.Header(packet.Network), &m.out, &m.outMarks)
		}
	}
	return m.Device.WritePackets(queue, batch)
}

// mark sets CE in an ECN-capable header whose turn it is. What WritePackets refuses comes again and may then be marked a second time, which
// changes nothing.
func (m *marker) mark(b []byte, seen, marks *atomic.Int64) {
	if b[0]>>4 == 6 {
		if h := wire.IPv6(b); h.ECN() == wire.ECT0 && seen.Add(1)%m.every == 0 {
			h.SetECN(wire.CE)
			marks.Add(1)
		}
		return
	}
	if h := wire.IPv4(b[:wire.IPv4MinLen]); h.ECN() == wire.ECT0 && seen.Add(1)%m.every == 0 {
		h.SetECN(wire.CE)
		h.SetChecksum(0)
		h.SetChecksum(h.ComputeChecksum())
		marks.Add(1)
	}
}

// ECN with the kernel, in all combinations of what the two ask for and take: both agree on the same, marks on the way make both sides
// reduce their windows, and nothing has to be sent again for it.
func TestECN(t *testing.T) {
	tests := []struct {
		name    string
		weir    weir.ECNMode
		kernel  string          // net.ipv4.tcp_ecn
		accepts tcp.ECNFeedback // agreed on when the kernel dials
		asks    tcp.ECNFeedback // and when weir dials
	}{
		{"classic", weir.ECNAsk, "1", tcp.ECNClassic, tcp.ECNClassic},
		{"defaults", weir.ECNDefault, "2", tcp.ECNNone, tcp.ECNNone},
		{"weir asks", weir.ECNAsk, "2", tcp.ECNNone, tcp.ECNClassic},
		{"kernel refuses", weir.ECNAsk, "0", tcp.ECNNone, tcp.ECNNone},
		{"weir refuses", weir.ECNOff, "1", tcp.ECNNone, tcp.ECNNone},
		{"accurate", weir.AccECNAsk, "3", tcp.ECNAccurate, tcp.ECNAccurate},
		{"accurate falls back", weir.AccECNAsk, "1", tcp.ECNClassic, tcp.ECNClassic},
		{"the kernel falls back", weir.ECNAsk, "3", tcp.ECNClassic, tcp.ECNClassic},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inBothModes(t, func(t *testing.T, plain bool) {
				sysctl(t, "net/ipv4/tcp_ecn", test.kernel)
				m := &marker{every: 100}
				if !plain {
					m.every = 10 // super-segments
				}
				if testing.Short() || raceEnabled {
					m.every /= 4 // there are fewer
				}
				w := newWorld(t, options{plain: plain, wrap: m.wrap, stack: weir.Config{ECN: test.weir}})
				for _, f := range w.families {
					for i, d := range dials {
						want := []tcp.ECNFeedback{test.accepts, test.asks}[i]
						out, in := m.outMarks.Load(), m.inMarks.Load()
						p := d.open(w, f)
						w.together(func() error { return setControl(p.kernel, "cubic") }) // BBR has no threshold that marks would lower
						w.together(exchange(p, size(4<<20))...)
						checkECN(t, f.name+", "+d.name, p, want, m.outMarks.Load()-out, m.inMarks.Load()-in)
					}
				}
			})
		})
	}
}

// checkECN compares what the two ends of a connection say with what was marked on the way out of weir and into it.
func checkECN(t *testing.T, name string, p pair, want tcp.ECNFeedback, out, in int64) {
	t.Helper()
	info := p.weir.Info()
	raw, err := p.kernel.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var k *unix.TCPInfo
	if e := raw.Control(func(fd uintptr) { k, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); e != nil || err != nil {
		t.Fatal(e, err)
	}
	const optECN = 8 // TCPI_OPT_ECN
	t.Logf("%s: %v; marked %d out, %d in; weir %+v ssthresh %d, %d again; kernel options %#x, %d marked, ssthresh %d",
		name, info.ECN.Feedback, out, in, info.ECN, info.Ssthresh, info.Retransmits, k.Options, k.Delivered_ce, k.Snd_ssthresh)
	if info.ECN.Feedback != want || (k.Options&optECN != 0) != (want != tcp.ECNNone) {
		t.Errorf("%s: weir has agreed on %v, the kernel's options are %#x", name, info.ECN.Feedback, k.Options)
	}
	if want == tcp.ECNNone {
		if out+in != 0 {
			t.Errorf("%s: ECN-capable packets without ECN", name)
		}
		return
	}
	if !info.ECN.Capable || out == 0 || in == 0 || info.ECN.DeliveredCE == 0 || info.ECN.ReceivedCE == 0 || info.Ssthresh == 0 {
		t.Errorf("%s: weir did not see the marks: %+v, ssthresh %d", name, info.ECN, info.Ssthresh)
	}
	if k.Delivered_ce == 0 || k.Snd_ssthresh >= 0x7fffffff {
		t.Errorf("%s: the kernel did not see the marks: %d, ssthresh %d", name, k.Delivered_ce, k.Snd_ssthresh)
	}
}
