package wire

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/weirnet/weir/checksum"
	"pgregory.net/rapid"
)

const (
	igmpV3Query  = "11 9f 0000 e0000001 02 7d 0002 c0000201 c0000202"
	igmpV3Report = "22 00 0000 0000 0002  04 00 0000 e00000fb  03 01 0001 ef010203 c0000201 deadbeef"
	mldV2Query   = "82 00 0000 9000 0000 ff020000 00000000 00000000 00000001 02 7d 0001 20010db8 00000000 00000000 00000001"
	mldV2Report  = "8f 00 0000 0000 0001 02 00 0001 ff020000 00000000 00000000 000000fb 20010db8 00000000 00000000 00000001"
)

func TestIGMPFields(t *testing.T) {
	for _, c := range []struct {
		name    string
		bytes   string
		version int
		resp    time.Duration
		group   string
		sources int
	}{
		{"version 1 query", "11 00 0000 00000000", 1, 10 * time.Second, "0.0.0.0", 0},
		{"version 2 query", "11 64 0000 e00000fb", 2, 10 * time.Second, "224.0.0.251", 0},
		{"version 2 query, no exponent", "11 ff 0000 e00000fb", 2, 25500 * time.Millisecond, "224.0.0.251", 0},
		{"version 3 query", igmpV3Query, 3, 49600 * time.Millisecond, "224.0.0.1", 2}, // (15|16) << (1+3) tenths
		{"version 3 query, longest", "11 ff 0000 e00000fb 00 00 0000", 3, 3174400 * time.Millisecond, "224.0.0.251", 0},
		{"version 3 query, exact", "11 7f 0000 e00000fb 00 00 0000", 3, 12700 * time.Millisecond, "224.0.0.251", 0},
	} {
		m, err := ParseIGMP(unhex(t, c.bytes))
		if err != nil || m.Type() != IGMPQuery || m.QueryVersion() != c.version || m.Group().String() != c.group ||
			m.Sources().Len() != c.sources {
			t.Errorf("%s: %v: version %d, group %v, %d sources", c.name, err, m.QueryVersion(), m.Group(), m.Sources().Len())
		}
		if m.MaxRespTime() != c.resp {
			t.Errorf("%s: answer within %v, want %v", c.name, m.MaxRespTime(), c.resp)
		}
		if it := m.Records(); it.Next() {
			t.Errorf("%s: a query has no records", c.name)
		}
	}
	m, _ := ParseIGMP(unhex(t, igmpV3Query))
	if m.Sources().At(1) != netip.MustParseAddr("192.0.2.2") {
		t.Errorf("source %v", m.Sources().At(1))
	}
}

func TestMLDFields(t *testing.T) {
	v1 := PutMLD(dirty(24), MLDFields{ICMPv6MLDQuery, 0xffff, netip.MustParseAddr("ff02::fb")})
	m, err := ParseMLD(v1)
	if err != nil || m.Type() != ICMPv6MLDQuery || m.QueryVersion() != 1 || m.MaxRespTime() != 65535*time.Millisecond ||
		m.Group() != netip.MustParseAddr("ff02::fb") || m.Sources().Len() != 0 {
		t.Errorf("version 1: %v, % x", err, v1)
	}
	m, err = ParseMLD(unhex(t, mldV2Query))
	if err != nil || m.QueryVersion() != 2 || m.MaxRespTime() != 0x1000<<4*time.Millisecond || m.Sources().Len() != 1 || m.Sources().At(0) != src6 {
		t.Errorf("version 2: %v, within %v, %d sources", err, m.MaxRespTime(), m.Sources().Len())
	}
	if it := m.Records(); it.Next() {
		t.Error("a query has no records")
	}
	m, err = ParseMLD(unhex(t, mldV2Report))
	if err != nil || m.Group() != netip.IPv6Unspecified() || m.Sources().Len() != 0 {
		t.Errorf("version 2 report: %v", err)
	}
}

func recordsText(it GroupRecords) string {
	var s []string
	for it.Next() {
		r := it.Record()
		text := fmt.Sprint(r.Type, " ", r.Group)
		for i := range r.Sources.Len() {
			text += " " + r.Sources.At(i).String()
		}
		s = append(s, text)
	}
	return fmt.Sprint(s, it.Err())
}

func TestGroupRecords(t *testing.T) {
	igmp, _ := ParseIGMP(unhex(t, igmpV3Report))
	if got, want := recordsText(igmp.Records()), "[4 224.0.0.251 3 239.1.2.3 192.0.2.1] <nil>"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	mld, _ := ParseMLD(unhex(t, mldV2Report))
	if got, want := recordsText(mld.Records()), "[2 ff02::fb 2001:db8::1] <nil>"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	// However the message is cut off, the records before the cut are as they were.
	cut(igmp, func(n int, b []byte) {
		if n < IGMPLen {
			return
		}
		want := "[] " + ErrShort.Error()
		if n >= 16 {
			want = "[4 224.0.0.251] " + ErrShort.Error()
		}
		if got := recordsText(IGMP(b).Records()); got != want {
			t.Errorf("%d bytes: %s, want %s", n, got, want)
		}
	})
}

func TestGroupErrors(t *testing.T) {
	query3, report3 := unhex(t, igmpV3Query), unhex(t, igmpV3Report)
	cut(query3, func(n int, b []byte) {
		want := ErrShort
		switch n {
		case 8:
			want = nil
		case 9, 10, 11:
			want = ErrFormat
		}
		if _, err := ParseIGMP(b); err != want {
			t.Errorf("IGMP query of %d bytes: %v, want %v", n, err, want)
		}
	})
	if _, err := ParseIGMP(report3[:8]); err != nil {
		t.Errorf("IGMPv3 report: %v", err)
	}
	cut(unhex(t, mldV2Query), func(n int, b []byte) {
		if n < ICMPv6Len {
			return
		}
		want := ErrShort
		switch n {
		case 24:
			want = nil
		case 25, 26, 27:
			want = ErrFormat
		}
		if _, err := ParseMLD(b); err != want {
			t.Errorf("MLD query of %d bytes: %v, want %v", n, err, want)
		}
	})
	for _, typ := range []ICMPv6Type{ICMPv6MLDReport, ICMPv6MLDDone} {
		m := PutMLD(dirty(24), MLDFields{Type: typ})
		if _, err := ParseMLD(m[:23]); err != ErrShort {
			t.Errorf("%v of 23 bytes: %v", typ, err)
		}
	}
	if _, err := ParseMLD(make([]byte, 24)); err != ErrFormat {
		t.Errorf("another type: %v", err)
	}
}

func genRecords(addr *rapid.Generator[netip.Addr]) *rapid.Generator[[]GroupRecordFields] {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) GroupRecordFields {
		return GroupRecordFields{GroupRecordType(rapid.Byte().Draw(t, "type")), addr.Draw(t, "group"), rapid.SliceOfN(addr, 0, 3).Draw(t, "sources")}
	}), 0, 4)
}

func fieldsText(records []GroupRecordFields) string {
	var s []string
	for _, r := range records {
		text := fmt.Sprint(r.Type, " ", r.Group)
		for _, a := range r.Sources {
			text += " " + a.String()
		}
		s = append(s, text)
	}
	return fmt.Sprint(s, nil)
}

func TestGroupRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := IGMPFields{IGMPType(rapid.Byte().Draw(t, "type")), rapid.Byte().Draw(t, "resp"), genAddr4().Draw(t, "group")}
		m, err := ParseIGMP(PutIGMP(dirty(9), f))
		if err != nil || (IGMPFields{m.Type(), m[1], m.Group()}) != f || !m.VerifyChecksum() || m.Checksum() != get16(m[2:]) {
			t.Fatalf("%+v became % x (%v)", f, m, err)
		}
		records := genRecords(genAddr4()).Draw(t, "records4")
		r, err := ParseIGMP(PutIGMPv3Report(dirty(IGMPv3ReportLen(records)+1), records))
		if err != nil || r.Type() != IGMPv3Report || !r.VerifyChecksum() || len(r) != IGMPv3ReportLen(records) {
			t.Fatalf("% x (%v)", r, err)
		}
		if got, want := recordsText(r.Records()), fieldsText(records); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
		records = genRecords(genAddr6()).Draw(t, "records6")
		icmp := PutMLDv2Report(dirty(MLDv2ReportLen(records)+1), records)
		mld, err := ParseMLD(icmp)
		if err != nil || icmp.Checksum() != 0 || len(icmp) != MLDv2ReportLen(records) {
			t.Fatalf("% x (%v)", mld, err)
		}
		if got, want := recordsText(mld.Records()), fieldsText(records); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	})
	// A checksum that covers what it should: any changed bit shows.
	m := PutIGMP(dirty(8), IGMPFields{IGMPv2Report, 0, netip.MustParseAddr("224.0.0.251")})
	if checksum.Sum(m, 0) != 0xffff {
		t.Error("IGMP checksum")
	}
	m[7]++
	if m.VerifyChecksum() {
		t.Error("a changed byte passes")
	}
}

// checkGroup reads all sources and records, and checks that writing the records again gives the same ones.
func checkGroup(t *testing.T, sources AddrList, it GroupRecords) []GroupRecordFields {
	t.Helper()
	for i := range sources.Len() {
		sources.At(i)
	}
	var records []GroupRecordFields
	for it.Next() {
		r := it.Record()
		f := GroupRecordFields{Type: r.Type, Group: r.Group}
		for i := range r.Sources.Len() {
			f.Sources = append(f.Sources, r.Sources.At(i))
		}
		records = append(records, f)
	}
	return records
}

func FuzzIGMP(f *testing.F) {
	for _, s := range []string{igmpV3Query, igmpV3Report, "11 00 0000 00000000", "16 00 0000 e00000fb"} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseIGMP(b)
		if err != nil {
			return
		}
		_, _, _, _, _ = m.Type(), m.Group(), m.QueryVersion(), m.VerifyChecksum(), m.Checksum()
		if d := m.MaxRespTime(); d < 0 || d > time.Hour {
			t.Fatalf("answer within %v", d)
		}
		records := checkGroup(t, m.Sources(), m.Records())
		again := PutIGMPv3Report(dirty(IGMPv3ReportLen(records)), records)
		if got, want := recordsText(again.Records()), fieldsText(records); got != want {
			t.Fatalf("%s became %s", want, got)
		}
		if again := PutIGMP(dirty(8), IGMPFields{m.Type(), m[1], m.Group()}); !bytes.Equal(again[4:], m[4:8]) {
			t.Fatalf("% x became % x", m[:8], again)
		}
	})
}

func FuzzMLD(f *testing.F) {
	for _, s := range []string{mldV2Query, mldV2Report} {
		f.Add(unhex(f, s))
	}
	f.Add([]byte(PutMLD(make([]byte, 24), MLDFields{Type: ICMPv6MLDDone})))
	f.Fuzz(func(t *testing.T, b []byte) {
		icmp, err := ParseICMPv6(b, len(b))
		if err != nil {
			return
		}
		m, err := ParseMLD(icmp)
		if err != nil {
			return
		}
		if d := m.MaxRespTime(); d < 0 || d > 3*time.Hour {
			t.Fatalf("answer within %v", d)
		}
		_, _ = m.QueryVersion(), m.Group()
		records := checkGroup(t, m.Sources(), m.Records())
		mld, err := ParseMLD(PutMLDv2Report(dirty(MLDv2ReportLen(records)), records))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := recordsText(mld.Records()), fieldsText(records); got != want {
			t.Fatalf("%s became %s", want, got)
		}
		if m.Type() != ICMPv6MLDv2Report {
			if again := PutMLD(dirty(24), MLDFields{m.Type(), get16(m[4:]), m.Group()}); !bytes.Equal(again[8:], m[8:24]) {
				t.Fatalf("% x became % x", m[:24], again)
			}
		}
	})
}

func TestGroupAllocs(t *testing.T) {
	igmp, mld := unhex(t, igmpV3Report), unhex(t, mldV2Report)
	out := make([]byte, 64)
	records := []GroupRecordFields{{Type: GroupToExclude, Group: netip.MustParseAddr("224.0.0.251")}}
	noAllocs(t, func() {
		m, err := ParseIGMP(igmp)
		if err != nil {
			t.Fatal(err)
		}
		for it := m.Records(); it.Next(); {
			_ = it.Record().Sources.Len()
		}
		n, err := ParseMLD(mld)
		if err != nil {
			t.Fatal(err)
		}
		for it := n.Records(); it.Next(); {
			_ = it.Record().Sources.At(0)
		}
		PutIGMPv3Report(out, records)
		PutMLDv2Report(out, records)
	})
}
