package tcp

import (
	"testing"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/wire"
)

// aceBits is "011" as flags AE, CWR, ECE.
func aceBits(s string) wire.TCPFlags {
	n := uint32(0)
	for _, c := range s {
		n = 2*n + uint32(c-'0')
	}
	return aceOf(n)
}

// clientOf opens a connection in a mode and gives it the SYN-ACK with those flags, which came with a codepoint.
func clientOf(t *testing.T, cfg *Config, mode ECNMode, synAck string, codepoint uint8) (c *Conn, syn Segment) {
	t.Helper()
	c = new(Conn)
	c.Connect(cfg, 0, Params{ISS: 100, MSS: 1460, Options: &Options{ECN: mode}})
	if !c.Output(0, &syn) {
		t.Fatal("no SYN")
	}
	seg := Segment{Seq: 500, Ack: 101, Flags: wire.SYN | wire.ACK | aceBits(synAck), Window: 65535, ECN: codepoint}
	seg.Options.SACKPermitted = true
	c.Input(1000, &seg)
	if c.State() != Established {
		t.Fatalf("the state is %v", c.State())
	}
	return c, syn
}

// RFC 9768 §3.1.2, table 2, from the side of the client; RFC 3168 §6.1.1.
func TestECNTableClient(t *testing.T) {
	for _, row := range []struct {
		mode         ECNMode
		syn, synAck  string
		want         ECNFeedback
		ect, respond bool
	}{
		{AccECNAsk, "111", "010", ECNAccurate, true, true},
		{AccECNAsk, "111", "011", ECNAccurate, false, true}, // the SYN was sent as Not-ECT: mangled
		{AccECNAsk, "111", "100", ECNAccurate, false, true},
		{AccECNAsk, "111", "110", ECNAccurate, false, true},
		{AccECNAsk, "111", "101", ECNAccurate, true, true}, // reserved: §3.1.3
		{AccECNAsk, "111", "001", ECNClassic, true, true},
		{AccECNAsk, "111", "000", ECNNone, false, false},
		{AccECNAsk, "111", "111", ECNNone, false, false}, // broken: an echo
		{ECNAsk, "011", "001", ECNClassic, true, true},
		{ECNAsk, "011", "000", ECNNone, false, false},
		{ECNAsk, "011", "011", ECNNone, false, false},
		{ECNAsk, "011", "010", ECNNone, false, false},
		{ECNAsk, "011", "101", ECNClassic, true, true}, // AE is a reserved bit to RFC 3168
		{AccECNAcceptAsk, "011", "001", ECNClassic, true, true},
		{AccECNAccept, "000", "001", ECNNone, false, false},
		{ECNAccept, "000", "001", ECNNone, false, false},
		{ECNOff, "000", "010", ECNNone, false, false},
	} {
		c, syn := clientOf(t, &Config{}, row.mode, row.synAck, wire.NotECT)
		if got := syn.Flags & aceFlags; got != aceBits(row.syn) || syn.ECN != wire.NotECT {
			t.Errorf("mode %d: SYN with %v, codepoint %d", row.mode, got, syn.ECN)
		}
		i := c.Info().ECN
		if i.Feedback != row.want || i.Capable != row.ect {
			t.Errorf("mode %d, SYN-ACK %s: %v, ECT %v", row.mode, row.synAck, i.Feedback, i.Capable)
		}
		if c.ecn != nil && c.ecn.is(ecnNoResponse) == row.respond {
			t.Errorf("mode %d, SYN-ACK %s: answers marks %v", row.mode, row.synAck, !row.respond)
		}
	}
}

// RFC 9768 §3.2.2.1, table 3: the codepoint of the SYN-ACK in the ACK of it, and what r.cep is then.
func TestAccECNHandshakeAck(t *testing.T) {
	for _, row := range []struct {
		codepoint uint8
		ack       string
		cep       uint32
	}{{wire.NotECT, "010", 5}, {wire.ECT1, "011", 5}, {wire.ECT0, "100", 5}, {wire.CE, "110", 6}} {
		c, _ := clientOf(t, &Config{}, AccECNAsk, "010", row.codepoint)
		var ack, next Segment
		var data buffer.Buffer
		data.Append(make([]byte, 10))
		if err := c.Write(1000, &data); err != nil {
			t.Fatal(err)
		}
		if !c.Output(1000, &ack) || ack.Flags != wire.ACK|aceBits(row.ack) || ack.Payload.Size() != 0 {
			t.Errorf("codepoint %d: ACK with %v, %d bytes", row.codepoint, ack.Flags, ack.Payload.Size())
		}
		if ack.Options.AccECN.Kind == 0 {
			t.Errorf("codepoint %d: no AccECN option on the first ACK (§3.2.3.2.1)", row.codepoint)
		}
		if !c.Output(1000, &next) || next.Payload.Size() != 10 || next.Flags&aceFlags != aceOf(row.cep) || next.ECN != wire.ECT0 {
			t.Errorf("codepoint %d: data with %v, codepoint %d", row.codepoint, next.Flags, next.ECN)
		}
		if next.Options.AccECN.Kind == 0 {
			t.Errorf("codepoint %d: no AccECN option on the first data", row.codepoint)
		}
		next.Payload.Release()
		c.Abort(2000, nil)
	}
}

// RFC 9768 §3.2.2.1, table 4: the meaning of the ACE field on the ACK of the SYN-ACK, which was sent as Not-ECT or, by ECN++, as ECT(0).
func TestAccECNServerTable4(t *testing.T) {
	for _, row := range []struct {
		ack                string
		control            bool
		cep                uint32
		ect, respond, slow bool
	}{
		{"000", false, 5, false, false, false}, // {Note 1}
		{"001", false, 5, true, true, false},
		{"010", false, 5, true, true, false},
		{"011", false, 5, false, true, false},
		{"100", false, 5, false, true, false},
		{"101", false, 5, true, true, false},
		{"110", false, 6, false, true, true},
		{"111", false, 5, true, true, false},
		{"010", true, 5, false, true, false}, // ECT(0) was bleached
		{"100", true, 5, true, true, false},
		{"110", true, 6, true, true, true},
	} {
		cfg := &Config{ECN: AccECNAccept, ECNControl: row.control}
		var r SynRecv
		var reply Segment
		syn := Segment{Seq: 500, Flags: wire.SYN | aceBits("111"), Window: 65535}
		syn.Options.SACKPermitted = true
		r.Init(cfg, 0, &syn, Params{ISS: 100, MSS: 1460})
		r.Open(0, &reply)
		if (reply.ECN == wire.ECT0) != row.control || reply.Flags&aceFlags != aceBits("010") || reply.Options.AccECN.Fields != 3 {
			t.Errorf("SYN-ACK with %v, codepoint %d, option %v", reply.Flags, reply.ECN, reply.Options.AccECN)
		}
		ack := Segment{Seq: 501, Ack: 101, Flags: wire.ACK | aceBits(row.ack), Window: 65535}
		if v := r.Input(1000, &ack, &reply); v != SynAccept {
			t.Fatalf("verdict %v", v)
		}
		var c Conn
		c.Accept(cfg, 1000, &r, &ack)
		i := c.Info()
		if c.ecn.accurate.sentCEP != row.cep || i.ECN.Capable != row.ect || c.ecn.is(ecnNoResponse) == row.respond {
			t.Errorf("ACE %s, ECN++ %v: s.cep %d, ECT %v, no response %v", row.ack, row.control, c.ecn.accurate.sentCEP, i.ECN.Capable, c.ecn.is(ecnNoResponse))
		}
		if (i.Cwnd <= 1460) != row.slow {
			t.Errorf("ACE %s: initial window %d", row.ack, i.Cwnd)
		}
	}
}

// RFC 9768 §3.1.2, table 2, and §3.1.3, from the side of the server; RFC 3168 §6.1.1.
func TestECNTableServer(t *testing.T) {
	for _, row := range []struct {
		mode      ECNMode
		syn       string
		codepoint uint8
		synAck    string
		want      ECNFeedback
	}{
		{AccECNAccept, "111", wire.NotECT, "010", ECNAccurate},
		{AccECNAccept, "111", wire.ECT1, "011", ECNAccurate},
		{AccECNAccept, "111", wire.ECT0, "100", ECNAccurate},
		{AccECNAccept, "111", wire.CE, "110", ECNAccurate},
		{AccECNAccept, "011", wire.NotECT, "001", ECNClassic},
		{AccECNAccept, "000", wire.NotECT, "000", ECNNone},
		{AccECNAccept, "001", wire.NotECT, "010", ECNAccurate},
		{AccECNAccept, "010", wire.NotECT, "010", ECNAccurate},
		{AccECNAccept, "100", wire.NotECT, "010", ECNAccurate},
		{AccECNAccept, "101", wire.NotECT, "010", ECNAccurate},
		{AccECNAccept, "110", wire.NotECT, "010", ECNAccurate},
		{AccECNAsk, "111", wire.NotECT, "010", ECNAccurate},
		{AccECNAcceptAsk, "111", wire.NotECT, "010", ECNAccurate},
		{ECNAccept, "111", wire.NotECT, "001", ECNClassic}, // AE is a reserved bit to RFC 3168
		{ECNAccept, "111", wire.ECT0, "001", ECNClassic},
		{ECNAccept, "011", wire.NotECT, "001", ECNClassic},
		{ECNAccept, "011", wire.ECT0, "000", ECNNone}, // who writes ECT into a SYN writes over marks, too
		{ECNAccept, "001", wire.NotECT, "000", ECNNone},
		{ECNAccept, "010", wire.NotECT, "000", ECNNone},
		{ECNAsk, "011", wire.NotECT, "001", ECNClassic},
		{ECNDefault, "011", wire.NotECT, "001", ECNClassic},
		{ECNOff, "011", wire.NotECT, "000", ECNNone},
		{ECNOff, "111", wire.NotECT, "000", ECNNone},
	} {
		var r SynRecv
		var reply Segment
		syn := Segment{Seq: 500, Flags: wire.SYN | aceBits(row.syn), Window: 65535, ECN: row.codepoint}
		r.Init(&Config{ECN: row.mode}, 0, &syn, Params{ISS: 100, MSS: 1460})
		r.Open(0, &reply)
		if reply.Flags&aceFlags != aceBits(row.synAck) || reply.ECN != wire.NotECT || r.ecn.feedback != row.want {
			t.Errorf("mode %d, SYN %s with codepoint %d: SYN-ACK %v with %d, %v", row.mode, row.syn, row.codepoint, reply.Flags, reply.ECN, r.ecn.feedback)
		}
	}
}

// RFC 9768 §3.2.3.2.2: the SYN-ACK that is sent again has no option, the next one not even the flags; after that no ECT (§3.1.5).
func TestAccECNSynAckFallback(t *testing.T) {
	cfg := &Config{ECN: AccECNAccept, ECNControl: true}
	var r SynRecv
	var reply Segment
	syn := Segment{Seq: 500, Flags: wire.SYN | aceBits("111"), Window: 65535}
	r.Init(cfg, 0, &syn, Params{ISS: 100, MSS: 1460})
	r.Open(0, &reply)
	for i, want := range []struct {
		flags  string
		option bool
		ecn    uint8
	}{{"010", true, wire.ECT0}, {"010", false, wire.NotECT}, {"000", false, wire.NotECT}, {"000", false, wire.NotECT}} {
		if reply.Flags&aceFlags != aceBits(want.flags) || (reply.Options.AccECN.Kind != 0) != want.option || reply.ECN != want.ecn {
			t.Errorf("SYN-ACK %d: %v, option %v, codepoint %d", i, reply.Flags, reply.Options.AccECN, reply.ECN)
		}
		r.Expire(r.Deadline(), &reply)
	}
	ack := Segment{Seq: 501, Ack: 101, Flags: wire.ACK | aceBits("010"), Window: 65535}
	var c Conn
	c.Accept(cfg, r.Deadline(), &r, &ack)
	if i := c.Info().ECN; i.Capable || i.Feedback != ECNAccurate {
		t.Errorf("%+v", i)
	}
}

// RFC 9768 §3.1.5: what a server does with a SYN that comes again, with other flags.
func TestECNSynAgain(t *testing.T) {
	for _, row := range []struct {
		mode          ECNMode
		first, second string
		codepoint     uint8 // of the second
		verdict       SynVerdict
		synAck        string
		ect           bool
	}{
		{AccECNAccept, "111", "111", wire.CE, SynReply, "110", true}, // the latest counts
		{AccECNAccept, "111", "000", wire.NotECT, SynReply, "010", false},
		{AccECNAccept, "111", "011", wire.NotECT, SynReset, "", false},
		{AccECNAccept, "011", "111", wire.NotECT, SynReset, "", false},
		{AccECNAccept, "011", "011", wire.NotECT, SynReply, "001", true},
		{AccECNAccept, "000", "111", wire.NotECT, SynReply, "000", false},
		{ECNAccept, "011", "000", wire.NotECT, SynReply, "000", false},
		{ECNAccept, "011", "111", wire.NotECT, SynReply, "001", true},
	} {
		cfg := &Config{ECN: row.mode}
		var r SynRecv
		var reply Segment
		syn := Segment{Seq: 500, Flags: wire.SYN | aceBits(row.first), Window: 65535}
		r.Init(cfg, 0, &syn, Params{ISS: 100, MSS: 1460})
		r.Open(0, &reply)
		syn.Flags, syn.ECN = wire.SYN|aceBits(row.second), row.codepoint
		if v := r.Input(600e6, &syn, &reply); v != row.verdict {
			t.Errorf("%s then %s: verdict %v", row.first, row.second, v)
			continue
		}
		if row.verdict == SynReset {
			if reply.Flags&wire.RST == 0 {
				t.Errorf("%s then %s: %v", row.first, row.second, reply.Flags)
			}
			continue
		}
		if reply.Flags&aceFlags != aceBits(row.synAck) || reply.Options.AccECN.Kind != 0 {
			t.Errorf("%s then %s: %v, option %v", row.first, row.second, reply.Flags, reply.Options.AccECN)
		}
		ack := Segment{Seq: 501, Ack: 101, Flags: wire.ACK, Window: 65535}
		if r.ecn.feedback == ECNAccurate {
			ack.Flags |= aceBits("010")
		}
		var c Conn
		c.Accept(cfg, 700e6, &r, &ack)
		if c.Info().ECN.Capable != row.ect {
			t.Errorf("%s then %s: ECT %v", row.first, row.second, !row.ect)
		}
	}
}
