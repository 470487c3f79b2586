// Package auth is what authenticates TCP segments between routers: the digests of TCP-MD5 (RFC 2385) and TCP-AO (RFC 5925, RFC 5926), the
// keys they are made with, and the state that one connection has of them. It has no clock, lock or I/O; who owns a connection owns its
// Guard and calls it under the connection's lock.
//
// A program that signs imports it and hands its keys over, as SockOpts.Keys when it dials or listens, and later by SetKeys of the
// connection or listener:
//
//	d := weir.Dialer{Control: func(o *weir.SockOpts) error {
//		o.Keys = &auth.Keys{AO: []auth.AOKey{{SendID: 1, RecvID: 1, Key: secret}}}
//		return nil
//	}}
//	...
//	err = c.SetKeys(auth.AddAO(auth.AOKey{SendID: 2, RecvID: 2, Key: next}))
//	err = c.UseAOKey(2, 2)
//
// Programs that do not import it have none of its cryptography in their binary.
package auth

import (
	"encoding/binary"
	"hash"

	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/wire"
)

// segment is one segment of the wire, as a digest sees it.
type segment tcp.SignedSegment

const (
	md5Len      = 16 // of a digest of TCP-MD5
	maxDigest   = 32 // of any hash that is used here
	checksumAt  = 16 // of the field in the TCP header
	checksumEnd = 18
)

// writePseudo writes the pseudo-header of the segment's checksum: RFC 9293 §3.1 for IPv4, RFC 8200 §8.1 for IPv6. Its length is that of the
// whole segment, options and all.
func (s *segment) writePseudo(h hash.Hash, scratch []byte) {
	length := len(s.Header) + s.Payload.Size()
	b := scratch[:0]
	if s.Dst.Is4() {
		src, dst := s.Src.As4(), s.Dst.As4()
		b = append(append(b, src[:]...), dst[:]...)
		b = append(b, 0, uint8(wire.ProtoTCP))
		b = binary.BigEndian.AppendUint16(b, uint16(length))
	} else {
		src, dst := s.Src.As16(), s.Dst.As16()
		b = append(append(b, src[:]...), dst[:]...)
		b = binary.BigEndian.AppendUint32(b, uint32(length))
		b = append(b, 0, 0, 0, uint8(wire.ProtoTCP))
	}
	h.Write(b)
}

// writeFixed writes the header without options, its checksum field zero.
func (s *segment) writeFixed(h hash.Hash, scratch []byte) {
	b := append(scratch[:0], s.Header[:wire.TCPMinLen]...)
	b[checksumAt], b[checksumAt+1] = 0, 0
	h.Write(b)
}

// scratchLen has room for all that is written in one piece: pseudo-headers, headers with options, contexts of key derivation.
const scratchLen = 64

// writePayload writes the segment's data.
func (s *segment) writePayload(h hash.Hash) {
	s.Payload.Apply(func(p []byte) { h.Write(p) })
}
