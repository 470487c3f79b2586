package tcp_test

import (
	"testing"
	"time"

	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/tcp/tcptest"
)

// ecnNet is a transfer from A to B over a link that marks, A asking in one mode and B taking all.
func ecnNet(seed uint64, mode tcp.ECNMode, size int, link, back tcptest.Link, change func(a, b *tcp.Config)) *tcptest.Net {
	a, b := &tcp.Config{ECN: mode}, &tcp.Config{ECN: tcp.AccECNAccept}
	if change != nil {
		change(a, b)
	}
	return tcptest.New(tcptest.Options{Seed: seed, AtoB: link, BtoA: back, A: tcptest.Traffic{Send: size}, Config: [2]*tcp.Config{a, b}})
}

// Marks reduce the window as losses do, with nothing to be sent again, and what the sender counts is what the receiver has seen: over links
// with and without offload, with and without the option, and where ACKs are lost.
func TestECNOverMarkingLink(t *testing.T) {
	for _, tt := range []struct {
		name    string
		mode    tcp.ECNMode
		gso     bool
		ackLoss float64
		mark    float64
		change  func(a, b *tcp.Config)
		exact   bool
	}{
		{"classic", tcp.ECNAsk, false, 0, .005, nil, false},
		{"classic, super-segments", tcp.ECNAsk, true, 0, .05, nil, false},
		{"accurate", tcp.AccECNAsk, false, 0, .005, nil, true},
		{"accurate, super-segments", tcp.AccECNAsk, true, 0, .05, nil, true},
		{"accurate, many marks", tcp.AccECNAsk, false, 0, .3, nil, true},
		{"accurate without options", tcp.AccECNAsk, false, 0, .005, func(_, b *tcp.Config) { b.NoECNOption = true }, true},
		{"accurate, ACKs are lost", tcp.AccECNAsk, false, .2, .02, nil, true},
		{"accurate, without timestamps", tcp.AccECNAsk, false, 0, .005, func(a, _ *tcp.Config) { a.NoTimestamps = true }, true},
		{"accurate, without SACK", tcp.AccECNAsk, false, 0, .005, func(a, _ *tcp.Config) { a.NoSACK = true }, true},
		{"accurate, ECN++", tcp.AccECNAsk, false, 0, .005, func(a, b *tcp.Config) { a.ECNControl, b.ECNControl = true, true }, true},
	} {
		link := tcptest.Link{Delay: 10 * time.Millisecond, Rate: 100e6, Queue: 250000, Mark: tt.mark, GSO: tt.gso}
		back := tcptest.Link{Delay: 10 * time.Millisecond, Loss: tt.ackLoss, GSO: tt.gso}
		var got [2]tcp.Info
		n := ecnNet(3, tt.mode, 3e6, link, back, tt.change)
		for more, err := true, error(nil); more; {
			if more, err = n.Step(); err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			for i, e := range n.End {
				if e.Conn != nil && e.Conn.State() != tcp.Closed {
					got[i] = e.Conn.Info()
				}
			}
		}
		if err := n.Run(); err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		a, b := got[0], got[1]
		if want := tcp.ECNAccurate; tt.exact && (a.ECN.Feedback != want || b.ECN.Feedback != want) || a.ECN.Feedback == tcp.ECNNone {
			t.Errorf("%s: %v, %v", tt.name, a.ECN.Feedback, b.ECN.Feedback)
		}
		if !a.ECN.Capable || b.ECN.ReceivedCE == 0 || a.Ssthresh == 0 || !tt.gso && tt.ackLoss == 0 && a.Retransmits > 0 {
			t.Errorf("%s: sender %+v, ssthresh %d, %d sent again; receiver %+v", tt.name, a.ECN, a.Ssthresh, a.Retransmits, b.ECN)
		}
		if d := int64(b.ECN.ReceivedCE - a.ECN.DeliveredCE); tt.exact && (d < -8 || d > 8) {
			t.Errorf("%s: %d packets came marked, the sender thinks %d", tt.name, b.ECN.ReceivedCE, a.ECN.DeliveredCE)
		}
	}
}

// Bad links with marks: what is sent arrives, in every mode of both ends.
func TestECNSimulation(t *testing.T) {
	modes := []tcp.ECNMode{tcp.ECNOff, tcp.ECNAccept, tcp.ECNAsk, tcp.AccECNAccept, tcp.AccECNAcceptAsk, tcp.AccECNAsk}
	for _, loss := range []float64{0, .02} {
		for seed := range uint64(seeds(36, 200)) {
			o := world(seed+1000, loss)
			p := pick(seed)
			o.AtoB.Mark, o.BtoA.Mark = choose(&p, 0, .02, .3, 1), choose(&p, 0, .02, 1)
			for i, mode := range []tcp.ECNMode{modes[seed%6], modes[seed/6%6]} {
				o.Config[i].ECN = mode
				o.Config[i].ECNControl, o.Config[i].NoECNOption = choose(&p, false, true), choose(&p, false, false, true)
			}
			if err := tcptest.New(o).Run(); err != nil {
				t.Errorf("loss %v, modes %v: %v", loss, [2]tcp.ECNMode{o.Config[0].ECN, o.Config[1].ECN}, err)
			}
		}
	}
}
