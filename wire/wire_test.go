package wire

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var (
	src4 = netip.MustParseAddr("192.0.2.1")
	dst4 = netip.MustParseAddr("198.18.0.2")
	src6 = netip.MustParseAddr("2001:db8::1")
	dst6 = netip.MustParseAddr("2001:db8::2")
	mac1 = [6]byte{2, 0, 0, 0, 0, 1}
	mac2 = [6]byte{2, 0, 0, 0, 0, 2}
)

// unhex is the bytes that s writes in hexadecimal, spaces being of no account.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// noAllocs fails if f allocates.
func noAllocs(t *testing.T, f func()) {
	t.Helper()
	if n := testing.AllocsPerRun(100, f); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// cut calls f with every proper prefix of b.
func cut(b []byte, f func(n int, b []byte)) {
	for n := range len(b) {
		f(n, b[:n:n])
	}
}

func genAddr4() *rapid.Generator[netip.Addr] {
	return rapid.Custom(func(t *rapid.T) netip.Addr {
		return netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "addr4")))
	})
}

func genAddr6() *rapid.Generator[netip.Addr] {
	return rapid.Custom(func(t *rapid.T) netip.Addr {
		return netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "addr6")))
	})
}

func genMAC() *rapid.Generator[[6]byte] {
	return rapid.Custom(func(t *rapid.T) [6]byte {
		return [6]byte(rapid.SliceOfN(rapid.Byte(), 6, 6).Draw(t, "mac"))
	})
}

// dirty is n bytes that are not zero, so that an encoder which leaves one alone is found out.
func dirty(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = 0xa5
	}
	return b
}

func TestNames(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{ProtoTCP.String(), "tcp"},
		{ProtoDestOptions.String(), "destination-options"},
		{Protocol(253).String(), "protocol 253"},
		{EtherTypeIPv6.String(), "ipv6"},
		{EtherType(0).String(), "ethertype 0"},
		{ICMPv4DstUnreachable.String(), "destination unreachable"},
		{ICMPv4Type(42).String(), "icmp type 42"},
		{ICMPv6PacketTooBig.String(), "packet too big"},
		{ICMPv6Type(200).String(), "icmpv6 type 200"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
	// Every known number has a name of its own.
	seen := map[string]Protocol{}
	for p := range 256 {
		s := Protocol(p).String()
		if q, ok := seen[s]; ok {
			t.Errorf("%d and %d are both %q", p, q, s)
		}
		seen[s] = Protocol(p)
	}
}

func TestIPVersion(t *testing.T) {
	for _, c := range []struct {
		b    []byte
		want int
	}{{nil, 0}, {[]byte{0x45}, 4}, {[]byte{0x60}, 6}, {[]byte{0xff}, 15}} {
		if got := IPVersion(c.b); got != c.want {
			t.Errorf("IPVersion(%x) = %d, want %d", c.b, got, c.want)
		}
	}
}

func TestProtocolIsExtension(t *testing.T) {
	want := map[Protocol]bool{0: true, 43: true, 44: true, 60: true}
	for p := range 256 {
		if got := Protocol(p).IsExtension(); got != want[Protocol(p)] {
			t.Errorf("%v.IsExtension() = %v", Protocol(p), got)
		}
	}
}
