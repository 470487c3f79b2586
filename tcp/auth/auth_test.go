package auth

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/wire"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "\n", "", "\t", "").Replace(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// RFC 4493 §4.
func TestCMAC(t *testing.T) {
	key := unhex(t, "2b7e151628aed2a6abf7158809cf4f3c")
	msg := unhex(t, "6bc1bee22e409f96e93d7e117393172a ae2d8a571e03ac9c9eb76fac45af8e51 30c81c46a35ce411e5fbc1191a0a52ef f69f2445df4f9b17ad2b417be66c3710")
	c := newCMAC(key)
	for n, want := range map[int]string{
		0: "bb1d6929e95937287fa37d129b756746", 16: "070a16b46b4d4144f79bdd9dd04a287c",
		40: "dfa66747de9ae63030ca32611497c827", 64: "51f0bebf7e3b9d92fc49741779363cfe",
	} {
		for _, step := range []int{1, 7, 16, 64} {
			c.Reset()
			for i := 0; i < n; i += step {
				_, _ = c.Write(msg[i:min(i+step, n)])
			}
			if got := hex.EncodeToString(c.Sum(nil)); got != want || c.Size() != 16 || c.BlockSize() != 16 {
				t.Errorf("%d bytes in steps of %d: %s, want %s", n, step, got, want)
			}
		}
	}
}

// RFC 4615 §4: a key of another length becomes one of 16 bytes first.
func TestDerivationKeys(t *testing.T) {
	msg := unhex(t, "000102030405060708090a0b0c0d0e0f10111213")
	for _, tt := range []struct{ key, want string }{
		{"000102030405060708090a0b0c0d0e0fedcb", "84a348a4a45d235babfffc0d2b4da09a"},
		{"000102030405060708090a0b0c0d0e0f", "980ae87b5f4c9c5214f5b6a8455e4c2d"},
		{"00010203040506070809", "290d9e112edb09ee141fcf64c0b72f3d"},
	} {
		h := AESCMAC.derivation(unhex(t, tt.key))
		_, _ = h.Write(msg)
		if got := hex.EncodeToString(h.Sum(nil)); got != tt.want {
			t.Errorf("key %s: %s, want %s", tt.key, got, tt.want)
		}
	}
}

// vector is a segment of RFC 9235, whose master key is "testvector", and whose client's SendID is 61 and RecvID 84.
type vector struct {
	name           string
	a              Algorithm
	excludeOptions bool
	client, server uint32 // initial sequence numbers
	packets        []string
}

const (
	fromClient = `ffffffffffffffffffffffffffffffff0043 0104 dabf 00b4 0a0b0c0d 260206010400010001020280000202020002024200020641040000dabf02084006006400010100`
	fromServer = `ffffffffffffffffffffffffffffffff0043 0104 dac0 00b4 ac1b1c1d 260206010400010001020280000202020002024200020641040000dac002084006006400010100`
)

var vectors = []vector{
	{"§4.1", HMACSHA1, false, 0xfbfbab5a, 0x11c14261, []string{
		`45e0004cdd0f4000ff06bf6b0a0b0c0dac1b1c1de9d700b3fbfbab5a00000000e002ffffcac40000020405b4010303080402080a00155ab7000000001d103d542ee437c6f8ede6d7c4d602e7`,
		`45e0004c65064000ff063775ac1b1c1d0a0b0c0d00b3e9d711c14261fbfbab5be012ffff37760000020405b4010303080402080a84a50beb00155ab71d10543deeab0fe24c3010815116b3be`,
		`45e0008736a14000ff06659f0a0b0c0dac1b1c1de9d700b3fbfbab5b11c14262c0180104a16200000101080a00155ac184a50beb1d103d547064cf998cc6c315c2c2e2bf` + fromClient,
		`45e000871fa94000ff067c97ac1b1c1d0a0b0c0d00b3e9d711c14262fbfbab9ec0180100400c00000101080a84a50bf500155ac11d10543da63f0ecbbb2e635c954deac7` + fromServer,
	}},
	{"§4.2", HMACSHA1, true, 0xcb0efbee, 0xacd5b5e1, []string{
		`45e0004c53994000ff0648e20a0b0c0dac1b1c1dff1200b3cb0efbee00000000e002ffff541f0000020405b4010303080402080a00024cce000000001d103d5480af3cfeb85368937b8f9ec2`,
		`45e0004c32844000ff0669f7ac1b1c1d0a0b0c0d00b3ff12acd5b5e1cb0efbefe012ffff388e0000020405b4010303080402080a576772f300024cce1d10543d09306f9acea63a8c68cb9a70`,
		`45e00087a8f54000ff06f34a0a0b0c0dac1b1c1dff1200b3cb0efbefacd5b5e2c01801046c4500000101080a00024cce576772f31d103d54710608cc696c03a271c93aa5` + fromClient,
		`45e0008754374000ff064809ac1b1c1d0a0b0c0d00b3ff12acd5b5e2cb0efc32c018010046b600000101080a576772f300024cce1d10543d97766e48ac262de9ae61b4f9` + fromServer,
	}},
	{"§5.1", AESCMAC, false, 0x787a1ddf, 0xfadd6de9, []string{
		`45e0004c7b9f4000ff0620dc0a0b0c0dac1b1c1dc4fa00b3787a1ddf00000000e002ffff5a0f0000020405b4010303080402080a00017ed0000000001d103d54e477e99c8040765498e55091`,
		`45e0004c4bad4000ff0650ceac1b1c1d0a0b0c0d00b3c4fafadd6de9787a1de0e012fffff3f20000020405b4010303080402080a93f4e9e800017ed01d10543dd6ada7bc4cdd536d1769db5f`,
		`45e00087fb4f4000ff06a0f00a0b0c0dac1b1c1dc4fa00b3787a1de0fadd6deac0180104950500000101080a00017ed093f4e9e81d103d5477412742fa4dc433eff0973e` + fromClient,
		`45e00087b9144000ff06e32bac1b1c1d0a0b0c0d00b3c4fafadd6dea787a1e23c0180100e7db00000101080a93f4e9e800017ed01d10543df6d965a78382a74845f72dac` + fromServer,
	}},
	{"§5.2", AESCMAC, true, 0x389bed71, 0xd3844a6f, []string{
		`45e0004cf22e4000ff06aa4c0a0b0c0dac1b1c1dda1c00b3389bed7100000000e002ffff70bf0000020405b4010303080402080a000185e1000000001d103d54c44e60cb31f7c0b1de3d2749`,
		`45e0004c6cc04000ff062fbbac1b1c1d0a0b0c0d00b3da1cd3844a6f389bed72e012ffffe4450000020405b4010303080402080ace459838000185e11d10543d3a6abb207e49b1be7136db90`,
		`45e00087ee914000ff06adae0a0b0c0dac1b1c1dda1c00b3389bed72d3844a70c0180104885100000101080a000185e1ce4598381d103d547585e9e9d5c3ec857b96f837` + fromClient,
		`45e000876a214000ff06321fac1b1c1d0a0b0c0d00b3da1cd3844a70389bed72c0180100044900000101080ace459838000185e11d10543d5c040fd9233304765c0982f4` + fromServer,
	}},
	{"§6.1", HMACSHA1, false, 0x176a833f, 0x3f51994b, []string{
		`6e0891dc00380640fd000000000000000000000000000001fd000000000000000000000000000002f7e400b3176a833f00000000e002ffff47210000020405a0010303080402080a0041d087000000001d103d549033ec3d7334b64c5edd039f`,
	}},
}

// parse takes an IP packet apart.
func parse(t *testing.T, b []byte) (tcp.SignedSegment, *wire.TCPOptions) {
	t.Helper()
	s := tcp.SignedSegment{Payload: new(buffer.Buffer)}
	s.Payload.SetPool(buffer.NewPool(buffer.Options{}))
	if wire.IPVersion(b) == 4 {
		s.Src, s.Dst = wire.IPv4(b).Src(), wire.IPv4(b).Dst()
		b = b[20:]
	} else {
		s.Src, s.Dst = wire.IPv6(b).Src(), wire.IPv6(b).Dst()
		b = b[40:]
	}
	h, err := wire.ParseTCP(b, len(b))
	if err != nil {
		t.Fatal(err)
	}
	s.Header = h
	s.Payload.Append(b[len(h):])
	o := new(wire.TCPOptions)
	o.Parse(h.OptionBytes())
	return s, o
}

func ends(s tcp.SignedSegment) (src, dst netip.AddrPort) {
	return netip.AddrPortFrom(s.Src, s.Header.SrcPort()), netip.AddrPortFrom(s.Dst, s.Header.DstPort())
}

// Both ends sign RFC 9235's segments as it has them, and take each other's.
func TestVectorsOfRFC9235(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			key := AOKey{Algorithm: v.a, Key: []byte("testvector"), ExcludeOptions: v.excludeOptions}
			clientKey, serverKey := key, key
			clientKey.SendID, clientKey.RecvID = 61, 84
			serverKey.SendID, serverKey.RecvID = 84, 61
			var client, server *Guard
			for i, text := range v.packets {
				raw := unhex(t, text)
				s, o := parse(t, bytes.Clone(raw))
				src, dst := ends(s)
				if i == 0 {
					client = NewGuard(&Keys{AO: []AOKey{clientKey}}, src, dst)
					server = NewGuard(&Keys{AO: []AOKey{serverKey}}, dst, src)
				}
				from, to := client, server
				if i%2 == 1 {
					from, to = server, client
				}
				want := bytes.Clone(o.Auth)
				clear(o.Auth[2:])
				from.Sign(s)
				if !bytes.Equal(o.Auth, want) {
					t.Fatalf("packet %d: the MAC is %x, want %x", i, o.Auth[2:], want[2:])
				}
				if got := to.Verify(s, o); got != tcp.SignatureGood {
					t.Fatalf("packet %d: %v", i, got)
				}
				o.Auth[5] ^= 1
				if got := to.Verify(s, o); got != tcp.SignatureBad {
					t.Errorf("packet %d with another MAC: %v", i, got)
				}
			}
		})
	}
}

// A digest of TCP-MD5, made here from nothing but crypto/md5 and RFC 2385 §2.
func TestMD5(t *testing.T) {
	key := []byte("secret of routers")
	for _, local := range []string{"192.0.2.1:179", "[2001:db8::1]:179"} {
		src := netip.MustParseAddrPort(local)
		dst := netip.MustParseAddrPort(strings.NewReplacer("::1", "::2", "2.1:", "2.9:").Replace(local))
		a := NewGuard(&Keys{MD5: []MD5Key{{Key: key}}}, src, dst)
		b := NewGuard(&Keys{MD5: []MD5Key{{Key: key}}}, dst, src)
		var o wire.TCPOptions
		o.TS, o.TSVal = true, 77
		a.Prepare(&o)
		h := wire.PutTCP(make([]byte, 60), wire.TCPFields{SrcPort: 179, DstPort: 179, Seq: 1000, Ack: 2000, Flags: wire.ACK | wire.PSH, Window: 500, Checksum: 0xbeef, Options: &o})
		s := tcp.SignedSegment{Src: src.Addr(), Dst: dst.Addr(), Header: h, Payload: new(buffer.Buffer)}
		s.Payload.SetPool(buffer.NewPool(buffer.Options{}))
		s.Payload.Append([]byte("update"))
		a.Sign(s)

		var m []byte
		m = append(append(m, src.Addr().AsSlice()...), dst.Addr().AsSlice()...)
		if src.Addr().Is4() {
			m = append(m, 0, 6)
			m = binary.BigEndian.AppendUint16(m, uint16(len(h)+6))
		} else {
			m = binary.BigEndian.AppendUint32(m, uint32(len(h)+6))
			m = append(m, 0, 0, 0, 6)
		}
		m = append(m, h[:16]...)
		m = append(m, 0, 0, h[18], h[19])
		m = append(append(m, "update"...), key...)
		want := md5.Sum(m)
		var got wire.TCPOptions
		got.Parse(h.OptionBytes())
		if !bytes.Equal(got.Auth, want[:]) || got.AuthKind != wire.TCPOptionMD5 || !got.TS || a.Space() != 20 {
			t.Errorf("%s: digest %x, want %x", local, got.Auth, want)
		}
		if v := b.Verify(s, &got); v != tcp.SignatureGood {
			t.Errorf("%s: %v", local, v)
		}
		s.Payload.Append([]byte("!"))
		if v := b.Verify(s, &got); v != tcp.SignatureBad {
			t.Errorf("%s: changed data: %v", local, v)
		}
		if v := b.Verify(s, &wire.TCPOptions{}); v != tcp.SignatureMissing {
			t.Errorf("%s: no option: %v", local, v)
		}
		if v := b.Verify(s, &wire.TCPOptions{AuthKind: wire.TCPOptionAO, Auth: make([]byte, 14)}); v != tcp.SignatureUnexpected {
			t.Errorf("%s: TCP-AO: %v", local, v)
		}
	}
}

// pair is two ends of a connection with TCP-AO.
type pair struct {
	t    *testing.T
	a, b *Guard
}

func newPair(t *testing.T, keys ...AOKey) *pair {
	x, y := netip.MustParseAddrPort("192.0.2.1:1000"), netip.MustParseAddrPort("192.0.2.2:179")
	other := make([]AOKey, len(keys))
	for i, k := range keys {
		other[i] = k
		other[i].SendID, other[i].RecvID = k.RecvID, k.SendID
	}
	return &pair{t, NewGuard(&Keys{AO: keys}, x, y), NewGuard(&Keys{AO: other}, y, x)}
}

// send signs a segment at one end and returns what the other finds, and the KeyID and RNextKeyID.
func (p *pair) send(from, to *Guard, seq uint32, flags wire.TCPFlags) (tcp.Verdict, uint8, uint8) {
	p.t.Helper()
	var o wire.TCPOptions
	from.Prepare(&o)
	h := wire.PutTCP(make([]byte, 60), wire.TCPFields{SrcPort: from.local.Port(), DstPort: to.local.Port(), Seq: seq, Flags: flags, Options: &o})
	s := tcp.SignedSegment{Src: from.local.Addr(), Dst: to.local.Addr(), Header: h, Payload: new(buffer.Buffer)}
	from.Sign(s)
	o.Parse(h.OptionBytes())
	return to.Verify(s, &o), o.Auth[0], o.Auth[1]
}

func (p *pair) open(isn uint32) {
	p.t.Helper()
	for _, s := range []struct {
		from, to *Guard
		seq      uint32
		flags    wire.TCPFlags
	}{{p.a, p.b, isn, wire.SYN}, {p.b, p.a, 7, wire.SYN | wire.ACK}, {p.a, p.b, isn + 1, wire.ACK}} {
		if v, _, _ := p.send(s.from, s.to, s.seq, s.flags); v != tcp.SignatureGood {
			p.t.Fatalf("segment %d of the handshake: %v", s.seq, v)
		}
	}
}

// RFC 5925 §6.2: the extension counts the wraps of the sequence number, so that a segment of 2^32 bytes ago is not good again.
func TestSequenceNumberExtension(t *testing.T) {
	p := newPair(t, AOKey{Key: []byte("k"), SendID: 1, RecvID: 2})
	p.open(1<<32 - 1000)
	old := *p.a
	for seq := uint32(1<<32 - 900); seq != 100; seq += 100 {
		if v, _, _ := p.send(p.a, p.b, seq, wire.ACK); v != tcp.SignatureGood {
			t.Fatalf("segment %d: %v", seq, v)
		}
	}
	if v, _, _ := p.send(p.a, p.b, 1<<32-500, wire.ACK); v != tcp.SignatureGood { // sent again, from before the wrap
		t.Errorf("retransmission: %v", v)
	}
	if p.b.rcvNext>>32 != 1 || p.a.sndNext>>32 != 1 {
		t.Errorf("extensions %d and %d, want 1", p.a.sndNext>>32, p.b.rcvNext>>32)
	}
	for range 5 {
		for step := uint32(0); step < 4; step++ {
			if v, _, _ := p.send(p.a, p.b, 1000+step<<30, wire.ACK); v != tcp.SignatureGood {
				t.Fatalf("round at %d: %v", step, v)
			}
		}
	}
	old.sndNext = 1 << 31 // as a recording of the first round
	if v, _, _ := p.send(&old, p.b, 1000+3<<30, wire.ACK); v != tcp.SignatureBad {
		t.Errorf("a segment of an earlier round: %v", v)
	}
}

// Rollover: what one end asks for by RNextKeyID, the other signs with from then on (RFC 5925 §7.5).
func TestKeyRollover(t *testing.T) {
	p := newPair(t, AOKey{Key: []byte("old"), SendID: 1, RecvID: 11}, AOKey{Key: []byte("new"), SendID: 2, RecvID: 22, Algorithm: AESCMAC}, AOKey{Key: []byte("long"), SendID: 3, RecvID: 33, Algorithm: HMACSHA256})
	if p.a.Space() != 20 {
		t.Errorf("space %d", p.a.Space())
	}
	p.open(5)
	if err := p.a.Use(-1, 22); err != nil {
		t.Fatal(err)
	}
	if v, id, next := p.send(p.a, p.b, 6, wire.ACK); v != tcp.SignatureGood || id != 1 || next != 22 {
		t.Errorf("%v, KeyID %d, RNextKeyID %d", v, id, next)
	}
	if v, id, _ := p.send(p.b, p.a, 8, wire.ACK); v != tcp.SignatureGood || id != 22 {
		t.Errorf("the peer's answer: %v, KeyID %d", v, id)
	}
	if err := p.a.Use(3, -1); err != nil {
		t.Fatal(err)
	}
	if v, id, _ := p.send(p.a, p.b, 6, wire.ACK); v != tcp.SignatureGood || id != 3 {
		t.Errorf("%v, KeyID %d", v, id)
	}
	if err := p.a.Use(9, -1); err != syscall.ENOENT {
		t.Error(err)
	}
	if err := p.a.Use(-1, 9); err != syscall.ENOENT {
		t.Error(err)
	}
	// The old key goes; its peer may no longer use it.
	all := p.a.Keys().(*Keys)
	for _, used := range []*Keys{{AO: all.AO[:2]}, {AO: all.AO[2:]}} {
		if err := p.a.SetKeys(used); err != syscall.EBUSY {
			t.Errorf("without the key that is signed with, or asked for: %v", err)
		}
	}
	keys, err := DeleteIDs(1, 11)(all)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.a.SetKeys(keys); err != nil {
		t.Fatal(err)
	}
	if current, next, err := p.a.IDs(); current != 3 || next != 22 || err != nil {
		t.Errorf("current %d, next %d, %v", current, next, err)
	}
	_ = p.b.Use(11, -1)
	if v, _, _ := p.send(p.b, p.a, 9, wire.ACK); v != tcp.SignatureUnknownKey {
		t.Errorf("a key that is no more: %v", v)
	}
}

func TestKeys(t *testing.T) {
	p := netip.MustParsePrefix
	var none *Keys
	if none.For(netip.MustParseAddrPort("192.0.2.1:1")) != nil || none.Guard(netip.AddrPort{}, netip.AddrPort{}) != nil || none.Check() != nil {
		t.Error("keys out of nothing")
	}
	k, err := none.WithMD5(MD5Key{Key: []byte("all")})
	if err != nil {
		t.Fatal(err)
	}
	k, _ = k.WithMD5(MD5Key{p("192.0.2.0/24"), []byte("net")})
	k, _ = k.WithMD5(MD5Key{p("192.0.2.7/32"), []byte("host")})
	for addr, want := range map[string]string{"192.0.2.7:1": "host", "192.0.2.8:1": "net", "[2001:db8::1]:1": "all", "[::ffff:192.0.2.7]:1": "host"} {
		if got := k.For(netip.MustParseAddrPort(addr)); string(got.MD5[0].Key) != want {
			t.Errorf("%s has key %s, want %s", addr, got.MD5[0].Key, want)
		}
	}
	k, _ = k.WithMD5(MD5Key{Peer: p("192.0.2.7/32")})
	if got := k.For(netip.MustParseAddrPort("192.0.2.7:1")); string(got.MD5[0].Key) != "net" || len(k.MD5) != 2 {
		t.Errorf("after the host's key is gone it has %s", got.MD5[0].Key)
	}
	if _, err := k.WithAO(AOKey{Key: []byte("x")}); err != syscall.EINVAL {
		t.Errorf("both kinds for a peer: %v", err)
	}
	a, err := none.WithAO(AOKey{Peer: p("192.0.2.0/24"), SendID: 1, RecvID: 1, Key: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []AOKey{
		{Peer: p("192.0.2.9/32"), SendID: 1, RecvID: 2, Key: []byte("x")}, {SendID: 3, RecvID: 1, Key: []byte("x")}, {SendID: 5, RecvID: 5},
		{SendID: 5, RecvID: 5, Key: make([]byte, 81)}, {SendID: 5, RecvID: 5, Key: []byte("x"), Algorithm: algorithms},
	} {
		if _, err := a.WithAO(bad); err != syscall.EINVAL {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if _, err := a.WithoutAO(netip.Prefix{}, 1, 1); err != syscall.ENOENT {
		t.Error(err)
	}
	if got := a.For(netip.MustParseAddrPort("198.18.0.1:1")); got != nil {
		t.Error("a key for another peer")
	}
	if _, err := none.WithMD5(MD5Key{Key: make([]byte, 81)}); err != syscall.EINVAL {
		t.Error(err)
	}
}
