package wire

import (
	"bytes"
	"fmt"
	"testing"
)

// tcpOptionCases are option bytes and what Parse makes of them.
var tcpOptionCases = []struct {
	name  string
	bytes string
	want  TCPOptions
}{
	{"none", "", TCPOptions{}},
	{"Linux SYN", "020405b4 0402080a 11223344 55667788 01030307",
		TCPOptions{HasMSS: true, MSS: 1460, SACKPermitted: true, TS: true, TSVal: 0x11223344, TSEcr: 0x55667788, HasWScale: true, WScale: 7}},
	{"timestamps as on every segment", "0101080a 11223344 55667788", TCPOptions{TS: true, TSVal: 0x11223344, TSEcr: 0x55667788}},
	{"timestamps without padding", "080a 11223344 55667788 0000", TCPOptions{TS: true, TSVal: 0x11223344, TSEcr: 0x55667788}},
	{"12 bytes, another option", "0101040204020303 0f000000", TCPOptions{SACKPermitted: true, HasWScale: true, WScale: 15}},
	{"one SACK block", "0101050a 00000001 00000002", TCPOptions{NSACK: 1, SACK: [4]SACKBlock{{1, 2}}}},
	{"four SACK blocks", "01010522 00000001 00000002 00000003 00000004 00000005 00000006 fffffff0 00000008",
		TCPOptions{NSACK: 4, SACK: [4]SACKBlock{{1, 2}, {3, 4}, {5, 6}, {0xfffffff0, 8}}}},
	{"SACK and timestamps", "0101080a 00000001 00000002 0101050a 00000003 00000004",
		TCPOptions{TS: true, TSVal: 1, TSEcr: 2, NSACK: 1, SACK: [4]SACKBlock{{3, 4}}}},
	{"nothing behind the end counts", "020405b4 00030307", TCPOptions{HasMSS: true, MSS: 1460}},
	{"unknown ones are skipped", "1304aabb fe02 020405b4 0101", TCPOptions{HasMSS: true, MSS: 1460}},
	{"the last of two counts", "02040001 02040002", TCPOptions{HasMSS: true, MSS: 2}},
	{"MSS 0", "02040000", TCPOptions{HasMSS: true}},
	{"Fast Open request", "2202 0101", TCPOptions{HasFastOpen: true}},
	{"Fast Open cookie of 8", "220a 0102030405060708 0101", TCPOptions{HasFastOpen: true, FastOpen: []byte{1, 2, 3, 4, 5, 6, 7, 8}}},
	{"Fast Open cookie of 2: skipped", "22040102 020405b4", TCPOptions{HasMSS: true, MSS: 1460}},
	{"Fast Open cookie of 5: skipped", "22070102030405 01 020405b4", TCPOptions{HasMSS: true, MSS: 1460}},
	{"Fast Open cookie of 18: skipped", "2214 000000000000000000000000000000000000 020405b4", TCPOptions{HasMSS: true, MSS: 1460}},
	{"AccECN0 of 11 (RFC 9768 §3.2.3)", "ac0b 000001 000002 fffffe 01",
		TCPOptions{AccECN: AccECN{Kind: TCPOptionAccECN0, Fields: 3, E0B: 1, CEB: 2, E1B: 0xfffffe}}},
	{"AccECN1 of 11", "ae0b 000001 000002 fffffe 01",
		TCPOptions{AccECN: AccECN{Kind: TCPOptionAccECN1, Fields: 3, E1B: 1, CEB: 2, E0B: 0xfffffe}}},
	{"AccECN0 of 8", "ac08 000001 000002", TCPOptions{AccECN: AccECN{Kind: TCPOptionAccECN0, Fields: 2, E0B: 1, CEB: 2}}},
	{"AccECN1 of 5", "010101 ae05 123456", TCPOptions{AccECN: AccECN{Kind: TCPOptionAccECN1, Fields: 1, E1B: 0x123456}}},
	{"AccECN0 of 2", "0101 ac02", TCPOptions{AccECN: AccECN{Kind: TCPOptionAccECN0}}},
	{"AccECN of another length: whole fields count", "ac07 000001 0203 01", TCPOptions{AccECN: AccECN{Kind: TCPOptionAccECN0, Fields: 1, E0B: 1}}},
	{"AccECN of too many fields", "ac0e 000001 000002 000003 000004 0101",
		TCPOptions{AccECN: AccECN{Kind: TCPOptionAccECN0, Fields: 3, E0B: 1, CEB: 2, E1B: 3}}},

	// RFC 9293 §3.2, MUST-7. What is before the bad option counts, what is behind it does not.
	{"length 0", "020405b4 0800 03030700 0000", TCPOptions{HasMSS: true, MSS: 1460, Malformed: true}},
	{"length 1", "020405b4 ff01 03030700 0000", TCPOptions{HasMSS: true, MSS: 1460, Malformed: true}},
	{"no length", "020405b4 01010108", TCPOptions{HasMSS: true, MSS: 1460, Malformed: true}},
	{"past the end", "020405b4 080a0000", TCPOptions{HasMSS: true, MSS: 1460, Malformed: true}},
	{"unknown past the end", "020405b4 fe0500 00", TCPOptions{HasMSS: true, MSS: 1460, Malformed: true}},
	{"MSS of 3", "0402 020305 030307", TCPOptions{SACKPermitted: true, Malformed: true}},
	{"MSS of 5", "0402 020505b400 030307 0000", TCPOptions{SACKPermitted: true, Malformed: true}},
	{"window scale of 2", "020405b4 0302 0402", TCPOptions{HasMSS: true, MSS: 1460, Malformed: true}},
	{"SACK permitted of 3", "020405b4 040300 030307 0000", TCPOptions{HasMSS: true, MSS: 1460, Malformed: true}},
	{"timestamps of 9", "020405b4 0809 00000000000000 030307", TCPOptions{HasMSS: true, MSS: 1460, Malformed: true}},
	{"SACK without blocks", "020405b4 0502 0402", TCPOptions{HasMSS: true, MSS: 1460, Malformed: true}},
	{"SACK of a block and a half", "020405b4 050e 000000010000000200000003", TCPOptions{HasMSS: true, MSS: 1460, Malformed: true}},
}

func TestTCPOptionsParse(t *testing.T) {
	for _, c := range tcpOptionCases {
		o := TCPOptions{HasMSS: true, MSS: 9, NSACK: 4, Malformed: true} // of no consequence
		o.Parse(unhex(t, c.bytes))
		if optionsText(&o) != optionsText(&c.want) {
			t.Errorf("%s: %s, want %s", c.name, optionsText(&o), optionsText(&c.want))
		}
	}
}

// However the options are cut off, those before the cut are as they were.
func TestTCPOptionsTruncated(t *testing.T) {
	whole := unhex(t, "020405b4 0402080a 11223344 55667788 030307 050a0000000100000002")
	cut(whole, func(n int, b []byte) {
		var o TCPOptions
		o.Parse(b)
		ends := []int{0, 4, 6, 16, 19}
		atEnd := false
		for _, e := range ends {
			atEnd = atEnd || n == e
		}
		if o.Malformed == atEnd {
			t.Errorf("%d bytes: malformed %v", n, o.Malformed)
		}
		if o.HasMSS != (n >= 4) || o.SACKPermitted != (n >= 6) || o.TS != (n >= 16) || o.HasWScale != (n >= 19) || o.NSACK != 0 {
			t.Errorf("%d bytes: %s", n, optionsText(&o))
		}
	})
}

func TestTCPOptionIter(t *testing.T) {
	for _, c := range []struct {
		name, bytes, want string
		malformed         bool
	}{
		{"several", "0101 1304aabb 0402 fe03 01 00 ff", "[{19 [170 187]} {4 []} {254 [1]}]", false},
		{"length 1", "0402 0801", "[{4 []}]", true},
		{"only NOPs", "010101", "[]", false},
	} {
		it := IterTCPOptions(unhex(t, c.bytes))
		got := []TCPOption{}
		for it.Next() {
			got = append(got, it.Option())
		}
		if fmt.Sprint(got) != c.want || it.Malformed() != c.malformed || it.Next() {
			t.Errorf("%s: %v, malformed %v; want %s, %v", c.name, got, it.Malformed(), c.want, c.malformed)
		}
	}
}

// The order towards the network is Linux's.
func TestTCPOptionsPut(t *testing.T) {
	cookie := []byte{1, 2, 3, 4, 5, 6, 7, 8}
	blocks := [4]SACKBlock{{1, 2}, {3, 4}, {5, 6}, {7, 8}}
	for _, c := range []struct {
		name string
		o    TCPOptions
		want string
	}{
		{"none", TCPOptions{}, ""},
		{"SYN", TCPOptions{HasMSS: true, MSS: 1460, SACKPermitted: true, TS: true, TSVal: 0x11223344, HasWScale: true, WScale: 7},
			"020405b4 0402 080a 11223344 00000000 01 030307"},
		{"SYN without SACK", TCPOptions{HasMSS: true, MSS: 536, TS: true, TSVal: 1, TSEcr: 2, HasWScale: true}, "02040218 0101080a 00000001 00000002 01030300"},
		{"SYN without timestamps", TCPOptions{HasMSS: true, MSS: 1220, SACKPermitted: true, HasWScale: true, WScale: 14}, "020404c4 01010402 0103030e"},
		{"SYN, bare", TCPOptions{HasMSS: true, MSS: 1460}, "020405b4"},
		{"SYN asking for a cookie", TCPOptions{HasMSS: true, MSS: 1460, HasFastOpen: true}, "020405b4 22020101"},
		{"SYN with a cookie", TCPOptions{HasMSS: true, MSS: 1460, SACKPermitted: true, TS: true, HasWScale: true, WScale: 7, HasFastOpen: true, FastOpen: cookie},
			"020405b4 0402080a 00000000 00000000 01030307 220a0102030405060708 0101"},
		{"data", TCPOptions{TS: true, TSVal: 1, TSEcr: 2}, "0101080a 00000001 00000002"},
		{"data with SACK", TCPOptions{TS: true, NSACK: 1, SACK: blocks}, "0101080a 00000000 00000000 0101050a 00000001 00000002"},
		{"four blocks", TCPOptions{NSACK: 4, SACK: blocks},
			"01010522 00000001 00000002 00000003 00000004 00000005 00000006 00000007 00000008"},
		{"a fourth block does not fit", TCPOptions{TS: true, NSACK: 4, SACK: blocks},
			"0101080a 00000000 00000000 0101051a 00000001 00000002 00000003 00000004 00000005 00000006"},
		{"more blocks than there are", TCPOptions{NSACK: 200, SACK: blocks},
			"01010522 00000001 00000002 00000003 00000004 00000005 00000006 00000007 00000008"},
		{"a cookie of 16 fits beside all", TCPOptions{HasMSS: true, TS: true, HasWScale: true, HasFastOpen: true, FastOpen: make([]byte, 16)},
			"02040000 0101080a 00000000 00000000 01030300 2212 00000000000000000000000000000000 0101"},
		{"SYN-ACK with AccECN", TCPOptions{HasMSS: true, MSS: 1460, SACKPermitted: true, TS: true, HasWScale: true, WScale: 7,
			AccECN: AccECN{Kind: TCPOptionAccECN0, Fields: 3, E0B: 1, CEB: 0, E1B: 1}},
			"020405b4 0402080a 00000000 00000000 01030307 01 ac0b 000001 000000 000001"},
		{"AccECN, the other order, two counters, before SACK", TCPOptions{TS: true, NSACK: 3, SACK: blocks,
			AccECN: AccECN{Kind: TCPOptionAccECN1, Fields: 2, E0B: 1, CEB: 2, E1B: 0x1234567}},
			"0101080a 00000000 00000000 ae08 234567 000002 01010512 00000001 00000002 00000003 00000004"},
		{"AccECN without counters", TCPOptions{AccECN: AccECN{Kind: TCPOptionAccECN0}}, "0101ac02"},
		{"no room for AccECN beside a cookie", TCPOptions{HasMSS: true, MSS: 1460, TS: true, HasWScale: true, WScale: 7, HasFastOpen: true, FastOpen: cookie,
			AccECN: AccECN{Kind: TCPOptionAccECN0, Fields: 3}},
			"020405b4 0101080a 00000000 00000000 01030307 220a0102030405060708 0101"},
		{"a cookie that none can have", TCPOptions{HasFastOpen: true, FastOpen: make([]byte, 5)}, ""},
	} {
		b := dirty(41)
		n := c.o.Put(b)
		if want := unhex(t, c.want); !bytes.Equal(b[:n], want) || c.o.Len() != n || n%4 != 0 || n > TCPMaxOptionsLen || b[n] != 0xa5 {
			t.Errorf("%s: Len %d\n got % x\nwant % x", c.name, c.o.Len(), b[:n], want)
		}
	}
}
