package tcp

import (
	"testing"
	"time"
	"unsafe"

	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

const t0 = sched.Time(time.Hour) // when the tests of records begin

func TestSynRecvSize(t *testing.T) {
	if n := unsafe.Sizeof(SynRecv{}); n > 96 {
		t.Errorf("SynRecv is %d bytes, want at most 96", n)
	}
}

// newSyn is a record whose SYN had sequence number 500 and the given options, and ISS 9000.
func newSyn(o wire.TCPOptions) *SynRecv {
	r := new(SynRecv)
	r.Init(&Config{}, t0, &Segment{Seq: 500, Flags: wire.SYN, Window: 4000, Options: o}, Params{ISS: 9000, MSS: 1460, GSOMax: 1460})
	return r
}

func openSyn(o wire.TCPOptions) *SynRecv {
	r := newSyn(o)
	var reply Segment
	r.Open(t0, &reply)
	return r
}

var allOptions = wire.TCPOptions{HasMSS: true, MSS: 1400, HasWScale: true, WScale: 9, SACKPermitted: true, TS: true, TSVal: 77}

// A SYN-ACK offers only what the SYN did (RFC 7323 §1.3 and §2.2, RFC 2018 §2), and always the MSS (RFC 9293 §3.7.1).
func TestSynAckOptions(t *testing.T) {
	for _, tt := range []struct {
		name    string
		cfg     *Config
		syn     wire.TCPOptions
		want    wire.TCPOptions
		sendMSS uint16
		wscale  uint8
	}{
		{"none", &Config{}, wire.TCPOptions{}, wire.TCPOptions{HasMSS: true, MSS: 1460}, 536, 0},
		{"all", &Config{}, allOptions, wire.TCPOptions{HasMSS: true, MSS: 1460, HasWScale: true, SACKPermitted: true, TS: true,
			TSVal: 3600000, TSEcr: 77}, 1400, 9},
		{"all, not wanted", &Config{NoSACK: true, NoTimestamps: true, NoWindowScale: true}, allOptions,
			wire.TCPOptions{HasMSS: true, MSS: 1460}, 1400, 0},
		{"wscale 15", &Config{}, wire.TCPOptions{HasWScale: true, WScale: 15},
			wire.TCPOptions{HasMSS: true, MSS: 1460, HasWScale: true}, 536, 14},
		{"mss 0", &Config{}, wire.TCPOptions{HasMSS: true}, wire.TCPOptions{HasMSS: true, MSS: 1460}, minPeerMSS, 0},
	} {
		r := new(SynRecv)
		r.Init(tt.cfg, t0, &Segment{Seq: 500, Flags: wire.SYN, Options: tt.syn}, Params{ISS: 9000, MSS: 1460})
		var reply Segment
		r.Open(t0, &reply)
		if tt.want.HasWScale {
			tt.want.WScale = windowScale(tt.cfg.receiveBuffer())
		}
		if got := reply.Options; !sameOptions(got, tt.want) {
			t.Errorf("%s: options %+v, want %+v", tt.name, got, tt.want)
		}
		if reply.Flags != wire.SYN|wire.ACK || reply.Seq != 9000 || reply.Ack != 501 || reply.Window != 65535 {
			t.Errorf("%s: SYN-ACK is %+v", tt.name, reply)
		}
		if r.sndMSS != tt.sendMSS || r.sndWScale != tt.wscale {
			t.Errorf("%s: MSS %d and scale %d of the peer, want %d and %d", tt.name, r.sndMSS, r.sndWScale, tt.sendMSS, tt.wscale)
		}
	}
}

func sameOptions(a, b wire.TCPOptions) bool {
	x, y := make([]byte, 40), make([]byte, 40)
	return string(x[:a.Put(x)]) == string(y[:b.Put(y)])
}

// RFC 9293 §3.10.7.4 in SYN-RECEIVED after a passive open, with RFC 5961 §3.2. The window is 501 to 501+65535.
func TestSynRecvArrives(t *testing.T) {
	const late = time.Second - 1 // no answer was just given, and no retransmission is due
	ts := func(v uint32) wire.TCPOptions { return wire.TCPOptions{TS: true, TSVal: v} }
	rst := Segment{Seq: 10, Flags: wire.RST}
	challenge := Segment{Seq: 9001, Ack: 501, Flags: wire.ACK, Window: 65535}
	for _, tt := range []struct {
		name  string
		syn   wire.TCPOptions
		seg   Segment
		want  SynVerdict
		reply Segment
	}{
		{"the ACK", wire.TCPOptions{}, Segment{Seq: 501, Ack: 9001, Flags: wire.ACK}, SynAccept, Segment{}},
		{"the ACK with FIN", wire.TCPOptions{}, Segment{Seq: 501, Ack: 9001, Flags: wire.ACK | wire.FIN}, SynAccept, Segment{}},
		{"ACK of data out of order", wire.TCPOptions{}, Segment{Seq: 900, Ack: 9001, Flags: wire.ACK | wire.FIN}, SynAccept, Segment{}},
		{"ACK of nothing", wire.TCPOptions{}, Segment{Seq: 501, Ack: 9000, Flags: wire.ACK}, SynReply, Segment{Seq: 9000, Flags: wire.RST}},
		{"ACK of too much", wire.TCPOptions{}, Segment{Seq: 501, Ack: 9002, Flags: wire.ACK}, SynReply, Segment{Seq: 9002, Flags: wire.RST}},
		{"no ACK", wire.TCPOptions{}, Segment{Seq: 501, Flags: wire.PSH}, SynKeep, Segment{}},
		{"old duplicate", wire.TCPOptions{}, Segment{Seq: 400, Ack: 9001, Flags: wire.ACK}, SynReply, challenge},
		{"ACK left of the window", wire.TCPOptions{}, Segment{Seq: 500, Ack: 9001, Flags: wire.ACK}, SynReply, challenge},
		{"ACK right of the window", wire.TCPOptions{}, Segment{Seq: 501 + 65535, Ack: 9001, Flags: wire.ACK}, SynReply, challenge},
		{"last number of the window", wire.TCPOptions{}, Segment{Seq: 500 + 65535, Ack: 9001, Flags: wire.ACK}, SynAccept, Segment{}},
		{"RST exact", wire.TCPOptions{}, Segment{Seq: 501, Flags: wire.RST}, SynDrop, Segment{}},
		{"RST exact with ACK", wire.TCPOptions{}, Segment{Seq: 501, Ack: 5, Flags: wire.RST | wire.ACK}, SynDrop, Segment{}},
		{"RST in window", wire.TCPOptions{}, Segment{Seq: 502, Flags: wire.RST}, SynReply, challenge},
		{"RST left of the window", wire.TCPOptions{}, Segment{Seq: 500, Flags: wire.RST}, SynKeep, Segment{}},
		{"RST with an old timestamp", allOptions, Segment{Seq: 501, Flags: wire.RST, Options: ts(70)}, SynDrop, Segment{}},
		{"the SYN again", wire.TCPOptions{}, Segment{Seq: 500, Flags: wire.SYN}, SynReply,
			Segment{Seq: 9000, Ack: 501, Flags: wire.SYN | wire.ACK, Window: 65535}},
		{"another SYN in window", wire.TCPOptions{}, Segment{Seq: 600, Flags: wire.SYN}, SynDrop, Segment{}},
		{"another SYN elsewhere", wire.TCPOptions{}, Segment{Seq: 200, Flags: wire.SYN}, SynReply, challenge},
		{"SYN-ACK", wire.TCPOptions{}, Segment{Seq: 500, Ack: 9001, Flags: wire.SYN | wire.ACK}, SynReply, challenge},
		{"PAWS", allOptions, Segment{Seq: 501, Ack: 9001, Flags: wire.ACK, Options: ts(76)}, SynReply, challenge},
		{"no timestamp", allOptions, Segment{Seq: 501, Ack: 9001, Flags: wire.ACK}, SynKeep, Segment{}},
		{"RST without timestamp", allOptions, Segment{Seq: 501, Flags: wire.RST}, SynDrop, Segment{}},
		{"timestamp equal", allOptions, Segment{Seq: 501, Ack: 9001, Flags: wire.ACK, Options: ts(77)}, SynAccept, Segment{}},
		{"timestamp wrapped", allOptions, Segment{Seq: 501, Ack: 9001, Flags: wire.ACK, Options: ts(1 << 31)}, SynAccept, Segment{}},
	} {
		r := openSyn(tt.syn)
		reply := rst // anything: what is left of it shows
		got := r.Input(t0.Add(late), &tt.seg, &reply)
		if got != tt.want {
			t.Errorf("%s: verdict %d, want %d", tt.name, got, tt.want)
		}
		if tt.want != SynReply {
			tt.reply = rst
		}
		if r.wscale && reply.Flags == wire.ACK {
			tt.reply.Window >>= r.rcvWScale
		}
		if reply.Seq != tt.reply.Seq || reply.Ack != tt.reply.Ack || reply.Flags != tt.reply.Flags || reply.Window != tt.reply.Window {
			t.Errorf("%s: reply %+v, want %+v", tt.name, reply, tt.reply)
		}
		if r.ts && reply.Flags == wire.ACK && (!reply.Options.TS || reply.Options.TSEcr != 77) {
			t.Errorf("%s: reply without timestamps (RFC 7323 §3.2)", tt.name)
		}
	}
}

// Before Open nothing is sent, and a SYN that comes again is absorbed; a RST still ends it.
func TestSynRecvUndecided(t *testing.T) {
	r := newSyn(wire.TCPOptions{})
	var reply Segment
	for _, seg := range []Segment{{Seq: 500, Flags: wire.SYN}, {Seq: 501, Ack: 9001, Flags: wire.ACK}, {Seq: 501, Ack: 9, Flags: wire.ACK},
		{Seq: 300, Ack: 9001, Flags: wire.ACK}, {Seq: 600, Flags: wire.RST}} {
		if v := r.Input(t0.Add(time.Minute), &seg, &reply); v != SynKeep {
			t.Errorf("%v %d: verdict %d", seg.Flags, seg.Seq, v)
		}
	}
	if r.Opened() || r.Deadline() != sched.Never || r.Expire(t0.Add(time.Hour), &reply) != SynKeep {
		t.Error("an undecided record has a deadline")
	}
	r.Refuse(&reply)
	if reply.Seq != 0 || reply.Ack != 501 || reply.Flags != wire.RST|wire.ACK {
		t.Errorf("refusal is %+v", reply)
	}
	if v := r.Input(t0, &Segment{Seq: 501, Flags: wire.RST}, &reply); v != SynDrop {
		t.Errorf("RST: verdict %d", v)
	}
	r.Open(t0, &reply)
	if r.Refuse(&reply); reply.Seq != 9001 || reply.Ack != 501 || reply.Flags != wire.RST|wire.ACK {
		t.Errorf("refusal after the SYN-ACK is %+v", reply)
	}
}

// RFC 6298 §5.5: each retransmission after twice as long as the one before.
func TestSynAckRetransmission(t *testing.T) {
	r := openSyn(wire.TCPOptions{})
	var reply Segment
	for i, at := range []time.Duration{1, 3, 7, 15, 31} {
		at *= time.Second
		if d := r.Deadline(); d != t0.Add(at) {
			t.Fatalf("deadline %d after %v, want %v", i, d.Sub(t0), at)
		}
		if v := r.Expire(t0.Add(at-1), &reply); v != SynKeep {
			t.Fatalf("early Expire: verdict %d", v)
		}
		reply = Segment{}
		if v := r.Expire(t0.Add(at), &reply); v != SynReply || reply.Flags != wire.SYN|wire.ACK || reply.Seq != 9000 || reply.Ack != 501 {
			t.Fatalf("retransmission %d: verdict %d, %+v", i, v, reply)
		}
		if !r.retransmitted || !r.synLost {
			t.Error("the retransmission is not remembered for the first RTT sample")
		}
	}
	if v := r.Expire(t0.Add(63*time.Second), &reply); v != SynDrop {
		t.Errorf("after 63 s: verdict %d", v)
	}
}

// Duplicate SYNs and other segments that get a reply get one every half second.
func TestSynRecvReplyLimit(t *testing.T) {
	for name, seg := range map[string]Segment{"SYN": {Seq: 500, Flags: wire.SYN},
		"old": {Seq: 100, Ack: 9001, Flags: wire.ACK}, "RST": {Seq: 700, Flags: wire.RST}} {
		r := openSyn(wire.TCPOptions{})
		var reply Segment
		replies := 0
		for ms := range 1000 {
			if r.Input(t0.Add(time.Duration(ms)*time.Millisecond), &seg, &reply) == SynReply {
				replies++
			}
		}
		if replies != 1 {
			t.Errorf("%s: %d replies in the second after the SYN-ACK", name, replies)
		}
	}
}

func TestRecordsNoAllocation(t *testing.T) {
	cfg := &Config{}
	syn, ack := &Segment{Seq: 500, Flags: wire.SYN, Options: allOptions}, &Segment{Seq: 501, Ack: 9001, Flags: wire.ACK}
	var r SynRecv
	var reply Segment
	if n := testing.AllocsPerRun(100, func() {
		r.Init(cfg, t0, syn, Params{ISS: 9000, MSS: 1460})
		r.Open(t0, &reply)
		r.Input(t0, ack, &reply)
		r.Expire(t0.Add(time.Second), &reply)
	}); n != 0 {
		t.Errorf("%v allocations a handshake", n)
	}
}
