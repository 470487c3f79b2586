package auth

import (
	"bytes"
	"crypto/md5"
	"crypto/subtle"
	"encoding/binary"
	"hash"
	"net/netip"
	"slices"
	"syscall"

	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/wire"
)

// Guard is what one connection, or the record of one, has of authentication, a tcp.Guard. Both ends of the connection are fixed.
type Guard struct {
	local, remote netip.AddrPort
	keys          *Keys
	md5           hash.Hash // with TCP-MD5
	ao            []aoKey   // with TCP-AO
	current       int       // of ao: what we sign with (current_key, RFC 5925 §4)
	next          int       // of ao: what we would have the peer sign with (rnext_key)

	// Initial sequence numbers, which go into the keys, and the sequence numbers seen, extended to 64 bits (RFC 5925 §6.2).
	sndISN, rcvISN   uint32
	sndNext, rcvNext uint64
	rcvKnown         bool // rcvISN is

	option  [maxOptionData]byte // of the segment that is being signed
	scratch [scratchLen]byte
	digest  [maxDigest]byte
}

// maxOptionData is the longest data of an option of ours: KeyID, RNextKeyID and a MAC of 16 bytes.
const maxOptionData = 18

// aoKey is a master key with the keys derived from it for a connection.
type aoKey struct {
	AOKey
	send, receive hash.Hash // nil: not derived yet
}

// NewGuard returns what a connection with these keys (Keys.For its peer) needs; nil for none.
func NewGuard(keys *Keys, local, remote netip.AddrPort) *Guard {
	if keys == nil {
		return nil
	}
	g := &Guard{local: local, remote: remote}
	g.take(keys)
	return g
}

// Clone is a Guard of its own for the same connection, as of now. What it derives and computes is not shared.
func (g *Guard) Clone() tcp.Guard {
	c := *g
	c.md5, c.ao = nil, nil
	if g.md5 != nil {
		c.md5 = md5.New()
	}
	for i := range g.ao {
		c.ao = append(c.ao, aoKey{AOKey: g.ao[i].AOKey})
	}
	return &c
}

// SetKeys changes the keys to those among keys, a *Keys, that are for the peer. Those of TCP-AO that remain keep their roles. EBUSY: the
// one that is signed with, or that the peer is asked for, is not there.
func (g *Guard) SetKeys(keys tcp.Keys) error {
	all, ok := keys.(*Keys)
	if !ok {
		return syscall.EINVAL
	}
	of := all.For(g.remote)
	if of == nil {
		return syscall.EINVAL
	}
	if g.AO() && len(of.AO) > 0 && (find(of.AO, &g.ao[g.current].AOKey) < 0 || find(of.AO, &g.ao[g.next].AOKey) < 0) {
		return syscall.EBUSY
	}
	g.take(of)
	return nil
}

// find is where the key with another's IDs is; -1 if it is not there.
func find(keys []AOKey, as *AOKey) int {
	return slices.IndexFunc(keys, func(k AOKey) bool { return k.SendID == as.SendID && k.RecvID == as.RecvID })
}

// take makes keys the Guard's.
func (g *Guard) take(keys *Keys) {
	g.keys = keys
	g.md5 = nil
	if len(keys.MD5) > 0 {
		g.md5 = md5.New()
	}
	old, current, next := g.ao, g.current, g.next
	g.ao, g.current, g.next = nil, 0, 0
	for i := range keys.AO {
		g.ao = append(g.ao, aoKey{AOKey: keys.AO[i]})
	}
	for i := range old {
		o := &old[i]
		at := find(keys.AO, &o.AOKey)
		if at < 0 {
			continue
		}
		if k := &g.ao[at]; k.Algorithm == o.Algorithm && bytes.Equal(k.Key, o.Key) {
			k.send, k.receive = o.send, o.receive
		}
		if i == current {
			g.current = at
		}
		if i == next {
			g.next = at
		}
	}
}

// Keys are the keys in use, a *Keys.
func (g *Guard) Keys() tcp.Keys { return g.keys }

// AO reports whether TCP-AO protects the connection.
func (g *Guard) AO() bool { return len(g.ao) > 0 }

// IgnoresICMP reports whether ICMP errors are to be ignored (RFC 5925 §7.8).
func (g *Guard) IgnoresICMP() bool { return g.AO() && !g.keys.AcceptICMP }

// Space is how many bytes of each segment's options authentication takes, padding included. With several keys it is what the
// longest takes, for the peer may ask for any.
func (g *Guard) Space() (n int) {
	if g.md5 != nil {
		return (2 + md5Len + 3) &^ 3
	}
	for i := range g.ao {
		n = max(n, (4+g.ao[i].Algorithm.macLen()+3)&^3)
	}
	return n
}

// IDs are the SendIDs of the key that we sign with and of the one that we ask the peer for by its RecvID. ENOENT: it is not TCP-AO.
func (g *Guard) IDs() (current, next uint8, err error) {
	if !g.AO() {
		return 0, 0, syscall.ENOENT
	}
	return g.ao[g.current].SendID, g.ao[g.next].RecvID, nil
}

// Use chooses the key to sign with, by SendID, and the one to ask the peer for, by RecvID; negative: no change. ENOENT: there is none.
func (g *Guard) Use(sendID, recvID int) error {
	current, next := g.current, g.next
	if sendID >= 0 {
		if current = g.bySendID(sendID); current < 0 {
			return syscall.ENOENT
		}
	}
	if recvID >= 0 {
		if next = g.byRecvID(recvID); next < 0 {
			return syscall.ENOENT
		}
	}
	g.current, g.next = current, next
	return nil
}

func (g *Guard) bySendID(id int) int {
	for i := range g.ao {
		if int(g.ao[i].SendID) == id {
			return i
		}
	}
	return -1
}

func (g *Guard) byRecvID(id int) int {
	for i := range g.ao {
		if int(g.ao[i].RecvID) == id {
			return i
		}
	}
	return -1
}

// Prepare puts the option, its digest to be made by Sign, into the options of a segment that is to be sent.
func (g *Guard) Prepare(o *wire.TCPOptions) {
	clear(g.option[:])
	if g.md5 != nil {
		o.AuthKind, o.Auth = wire.TCPOptionMD5, g.option[:md5Len]
		return
	}
	if g.AO() {
		k := &g.ao[g.current]
		g.option[0], g.option[1] = k.SendID, g.ao[g.next].RecvID
		o.AuthKind, o.Auth = wire.TCPOptionAO, g.option[:2+k.Algorithm.macLen()]
	}
}

// Sign fills in the digest of a segment whose header was written with the option that Prepare made.
func (g *Guard) Sign(signed tcp.SignedSegment) {
	s := (*segment)(&signed)
	data, kind := authData(s.Header)
	switch {
	case data == nil:
	case kind == wire.TCPOptionMD5:
		copy(data, g.md5Digest(s))
	default:
		seq := s.Header.Seq()
		syn, ack := s.Header.Flags().Has(wire.SYN), s.Header.Flags().Has(wire.ACK)
		if syn {
			g.sndISN, g.sndNext = seq, uint64(seq)
		}
		ext := extend(g.sndNext, seq)
		g.sndNext = max(g.sndNext, ext)
		k := &g.ao[g.current]
		h := g.sendKey(k, syn && !ack)
		copy(data[2:], g.aoDigest(s, h, k, uint32(ext>>32), len(data)-2))
	}
}

// Verify judges a segment from the peer. o are its options, as parsed from its header.
func (g *Guard) Verify(signed tcp.SignedSegment, o *wire.TCPOptions) tcp.Verdict {
	s := (*segment)(&signed)
	want := wire.TCPOptionMD5
	if g.md5 == nil {
		want = wire.TCPOptionAO
	}
	switch {
	case o.AuthKind == 0:
		return tcp.SignatureMissing
	case o.AuthKind != want || o.Auth == nil:
		return tcp.SignatureUnexpected
	case want == wire.TCPOptionMD5:
		if subtle.ConstantTimeCompare(g.md5Digest(s), o.Auth) != 1 {
			return tcp.SignatureBad
		}
		return tcp.SignatureGood
	}
	return g.verifyAO(s, o.Auth)
}

// verifyAO judges a segment by its TCP-AO option (RFC 5925 §7.5), and learns from a good one.
func (g *Guard) verifyAO(s *segment, data []byte) tcp.Verdict {
	if len(data) < 2 {
		return tcp.SignatureBad
	}
	at := g.byRecvID(int(data[0]))
	if at < 0 {
		return tcp.SignatureUnknownKey
	}
	k := &g.ao[at]
	if len(data) != 2+k.Algorithm.macLen() {
		return tcp.SignatureBad
	}
	seq := s.Header.Seq()
	flags := s.Header.Flags()
	syn := flags.Has(wire.SYN)
	var h hash.Hash
	var ext uint64
	switch {
	case syn && !flags.Has(wire.ACK):
		h = k.derive(s.Src, s.Dst, s.Header.SrcPort(), s.Header.DstPort(), seq, 0)
		ext = uint64(seq)
	case !g.rcvKnown && syn:
		h = g.derive(k, s, seq, g.sndISN)
		ext = uint64(seq)
	case !g.rcvKnown:
		h = g.derive(k, s, 0, g.sndISN) // perhaps a RST in answer to our SYN, of an end that has no ISN
		ext = uint64(seq)
	default:
		if k.receive == nil {
			k.receive = g.derive(k, s, g.rcvISN, g.sndISN)
		}
		h = k.receive
		ext = extend(g.rcvNext, seq)
	}
	if subtle.ConstantTimeCompare(g.aoDigest(s, h, k, uint32(ext>>32), len(data)-2), data[2:]) != 1 {
		return tcp.SignatureBad
	}
	first := syn && !g.rcvKnown
	if first {
		g.rcvISN, g.rcvNext, g.rcvKnown = seq, uint64(seq), true
		g.next = at
	}
	if !syn && g.rcvKnown {
		g.rcvNext = max(g.rcvNext, ext)
	}
	// RFC 5925 §7.5: if the RNextKeyID asks for another key than the current one, and that is there, it becomes the current one.
	// Not for a SYN that comes again, which a stranger may have kept: it would bring back a key that was rolled over.
	if next := g.bySendID(int(data[1])); next >= 0 && g.rcvKnown && (!syn || first) {
		g.current = next
	}
	return tcp.SignatureGood
}

// extend is seq in 64 bits: the number nearest to one that was seen before (RFC 5925 §6.2; by the difference, as RFC 9187 §5 has it). What
// would lie before the connection's first 2^32 lies in them.
func extend(near uint64, seq uint32) uint64 {
	d := int64(int32(seq - uint32(near)))
	if d < 0 && uint64(-d) > near {
		return uint64(seq)
	}
	return near + uint64(d)
}

// sendKey is the traffic key for what we send: that of a SYN knows no ISN of the peer's (RFC 5925 §5.2).
func (g *Guard) sendKey(k *aoKey, syn bool) hash.Hash {
	if syn || !g.rcvKnown {
		return k.derive(g.local.Addr(), g.remote.Addr(), g.local.Port(), g.remote.Port(), g.sndISN, 0)
	}
	if k.send == nil {
		k.send = k.derive(g.local.Addr(), g.remote.Addr(), g.local.Port(), g.remote.Port(), g.sndISN, g.rcvISN)
	}
	return k.send
}

// derive is the traffic key of a segment that came.
func (g *Guard) derive(k *aoKey, s *segment, src, dst uint32) hash.Hash {
	return k.derive(s.Src, s.Dst, s.Header.SrcPort(), s.Header.DstPort(), src, dst)
}

// derive is the MAC with the traffic key for what goes from src to dst (RFC 5925 §5.2, RFC 5926 §3.1.1): of a counter, a label, the
// connection, and the length of the output in bits.
func (k *AOKey) derive(src, dst netip.Addr, srcPort, dstPort uint16, srcISN, dstISN uint32) hash.Hash {
	b := append(make([]byte, 0, scratchLen), 1)
	b = append(b, "TCP-AO"...)
	b = append(append(b, src.AsSlice()...), dst.AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, srcPort)
	b = binary.BigEndian.AppendUint16(b, dstPort)
	b = binary.BigEndian.AppendUint32(b, srcISN)
	b = binary.BigEndian.AppendUint32(b, dstISN)
	n := k.Algorithm.trafficKeyLen()
	b = binary.BigEndian.AppendUint16(b, uint16(8*n))
	h := k.Algorithm.derivation(k.Key)
	h.Write(b)
	return k.Algorithm.mac(h.Sum(nil)[:n])
}

// md5Digest is the digest of RFC 2385 §2: pseudo-header, TCP header without options and checksum, data, key.
func (g *Guard) md5Digest(s *segment) []byte {
	h := g.md5
	h.Reset()
	s.writePseudo(h, g.scratch[:])
	s.writeFixed(h, g.scratch[:])
	s.writePayload(h)
	h.Write(g.keys.MD5[0].Key)
	return h.Sum(g.digest[:0])
}

// aoDigest is the MAC of RFC 5925 §5.1: sequence number extension, pseudo-header, TCP header (checksum and MAC zero; without other options
// if the key says so), data.
func (g *Guard) aoDigest(s *segment, h hash.Hash, k *aoKey, sne uint32, n int) []byte {
	h.Reset()
	binary.BigEndian.PutUint32(g.scratch[:], sne)
	h.Write(g.scratch[:4])
	s.writePseudo(h, g.scratch[:])
	if k.ExcludeOptions {
		s.writeFixed(h, g.scratch[:])
		b := append(g.scratch[:0], uint8(wire.TCPOptionAO), uint8(4+n))
		data, _ := authData(s.Header)
		b = append(b, data[:2]...)
		b = b[:len(b)+n]
		clear(b[4:])
		h.Write(b)
	} else {
		b := append(g.scratch[:0], s.Header...)
		b[checksumAt], b[checksumEnd-1] = 0, 0
		data, _ := authData(wire.TCP(b))
		clear(data[2:])
		h.Write(b)
	}
	s.writePayload(h)
	return h.Sum(g.digest[:0])[:n]
}

// authData is the data of the authentication option in a header, and its kind; nil if there is none.
func authData(h wire.TCP) ([]byte, wire.TCPOptionKind) {
	for it := h.Options(); it.Next(); {
		if o := it.Option(); o.Kind == wire.TCPOptionMD5 || o.Kind == wire.TCPOptionAO {
			return o.Data, o.Kind
		}
	}
	return nil, 0
}
