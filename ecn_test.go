package weir_test

import (
	"bytes"
	"context"
	"io"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/link/pipe"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/wire"
)

// marking is a device behind which one in every ECN-capable packets gets CE; it counts those of the wire.
type marking struct {
	link.Device
	every int64
	seen  atomic.Int64
	marks atomic.Int64
}

func (m *marking) WritePackets(queue int, batch []*packet.Packet) (int, error) {
	for _, p := range batch {
		p.WritableHeaders()
		h := p.Header(packet.Network)
		if wire.IPVersion(h) == 6 {
			if ip := wire.IPv6(h); ip.ECN() == wire.ECT0 && m.seen.Add(1)%m.every == 0 {
				ip.SetECN(wire.CE)
				m.marks.Add(int64(max(p.Segs, 1)))
			}
		} else if ip := wire.IPv4(h); ip.ECN() == wire.ECT0 && m.seen.Add(1)%m.every == 0 {
			ip.SetECN(wire.CE)
			ip.SetChecksum(0)
			ip.SetChecksum(ip.ComputeChecksum())
			m.marks.Add(int64(max(p.Segs, 1)))
		}
	}
	return m.Device.WritePackets(queue, batch)
}

// ECN from the configuration to the IP header and back, through super-segments (pipe) and through GSO and GRO (pipe without offloads): CE is
// never lost, and AccECN counts every packet of the wire.
func TestECN(t *testing.T) {
	for _, test := range []struct {
		name         string
		config, dial weir.ECNMode
		want         tcp.ECNFeedback
		control      bool
	}{
		{"default", weir.ECNDefault, weir.ECNDefault, tcp.ECNNone, false},
		{"one asks", weir.ECNDefault, weir.ECNAsk, tcp.ECNClassic, false},
		{"classic", weir.ECNAsk, weir.ECNDefault, tcp.ECNClassic, false},
		{"off", weir.ECNOff, weir.AccECNAsk, tcp.ECNNone, false},
		{"accurate", weir.AccECNAsk, weir.ECNDefault, tcp.ECNAccurate, false},
		{"accurate falls back", weir.ECNAccept, weir.AccECNAsk, tcp.ECNClassic, false},
		{"accurate, ECN++", weir.AccECNAsk, weir.ECNDefault, tcp.ECNAccurate, true},
	} {
		for _, o := range []pipe.Options{{}, {NoOffload: true, MTU: 1500}} {
			a, b := newStack(t, weir.Config{ECN: test.config, ECNControl: test.control}), newStack(t, weir.Config{ECN: test.config, ECNControl: test.control})
			da, db := pipe.New(o)
			m := &marking{Device: da, every: 20}
			join(t, a, weir.InterfaceConfig{Device: m, Addrs: prefixes(addrA4, addrA6)})
			join(t, b, weir.InterfaceConfig{Device: db, Addrs: prefixes(addrB4, addrB6)})
			for _, to := range []netip.Addr{addrB4, addrB6} {
				before := m.marks.Load()
				sent, got := ecnTransfer(t, a, b, to, test.dial)
				marks := uint64(m.marks.Load() - before)
				s, r := sent.ECN, got.ECN
				if s.Feedback != test.want || r.Feedback != test.want || s.Capable != (test.want != tcp.ECNNone) {
					t.Errorf("%s, %v: %+v, %+v", test.name, o, s, r)
				}
				if test.want == tcp.ECNNone {
					if marks > 0 || r.Seen {
						t.Errorf("%s, %v: ECN-capable packets without ECN", test.name, o)
					}
					continue
				}
				if marks == 0 || r.ReceivedCE == 0 || s.DeliveredCE == 0 || sent.Ssthresh == 0 {
					t.Errorf("%s, %v: %d marks; %+v, ssthresh %d; %+v", test.name, o, marks, s, sent.Ssthresh, r)
				}
				control := uint64(0)
				if test.control {
					control = 2 // a SYN is not counted, nor what came after the program looked
				}
				if test.want == tcp.ECNAccurate && (marks-r.ReceivedCE > control || s.DeliveredCE != r.ReceivedCE || s.DeliveredCEBytes != r.ReceivedCEBytes) {
					t.Errorf("%s, %v: %d marks, %d came, %d told of; bytes %d, %d", test.name, o, marks, r.ReceivedCE, s.DeliveredCE, r.ReceivedCEBytes, s.DeliveredCEBytes)
				}
			}
			a.Close()
			b.Close()
		}
	}
}

// ecnTransfer sends some megabytes from a to b and returns what the two ends know then.
func ecnTransfer(t *testing.T, a, b *weir.Stack, to netip.Addr, mode weir.ECNMode) (sent, got weir.TCPInfo) {
	t.Helper()
	l, err := b.ListenTCP(netip.AddrPortFrom(to, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan weir.TCPInfo, 1)
	data := bytes.Repeat([]byte("weir "), 1<<20)
	go func() {
		var info weir.TCPInfo
		defer func() { done <- info }()
		c, err := l.AcceptTCP()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		if all, err := io.ReadAll(c); err != nil || !bytes.Equal(all, data) {
			t.Errorf("%d bytes, %v", len(all), err)
		}
		info = c.Info()
	}()
	d := weir.Dialer{Stack: a, Control: func(o *weir.SockOpts) error {
		o.ECN = mode
		return nil
	}}
	c, err := d.DialContext(context.Background(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := c.(*weir.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, c)
	got = <-done
	return c.(*weir.TCPConn).Info(), got
}
