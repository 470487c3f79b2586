package tun

import (
	"encoding/binary"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/packet"
)

// vnetHeaderSize is the size of struct virtio_net_hdr (VIRTIO 1.2, 5.1.6) as TUN has it: without num_buffers.
const vnetHeaderSize = 10

// The fields of the header. Those of two bytes are in the machine's own byte order: a TUN device is "legacy" in VIRTIO's words.
const (
	vnetFlags      = 0 // u8
	vnetGSOType    = 1 // u8
	vnetHeaderLen  = 2 // u16: bytes of all headers, a hint
	vnetGSOSize    = 4 // u16: payload bytes of a full segment
	vnetCsumStart  = 6 // u16: where summing starts, from the first byte of the packet
	vnetCsumOffset = 8 // u16: where the sum goes, from csum_start
)

// Flags, and types of super-segment.
const (
	vnetNeedsCsum = 1 // the checksum is partial
	vnetDataValid = 2 // the checksum has been verified

	vnetGSONone  = 0
	vnetGSOTCP4  = 1
	vnetGSOTCP6  = 4
	vnetGSOUDPL4 = 5
	vnetGSOECN   = 0x80 // or'ed to a TCP type: CWR is set in the first segment, and not to be in the others
)

// What is looked at in the headers behind.
const (
	ip4MinHeader  = 20
	tcpDataOffset = 12   // byte whose upper half counts the 32-bit words of the header (RFC 9293 §3.1)
	tcpFlags      = 13   // byte of the flags
	tcpCWR        = 0x80 // RFC 3168 §6.1
	tcpMinHeader  = 20
	tcpChecksum   = 16
	udpHeader     = 8
	udpChecksum   = 6
)

// vnetHeader is struct virtio_net_hdr.
type vnetHeader [vnetHeaderSize]byte

func (h *vnetHeader) field(at int) int       { return int(binary.NativeEndian.Uint16(h[at:])) }
func (h *vnetHeader) setField(at int, v int) { binary.NativeEndian.PutUint16(h[at:], uint16(v)) }

// decode sets in m what the header says of a packet of size bytes that begins with front, which holds all of its headers. False if the
// header contradicts the packet, or VIRTIO: m would lead those who believe it past the end of the packet.
func (h *vnetHeader) decode(m *packet.Meta, front []byte, size int) bool {
	if len(front) == 0 || size < len(front) {
		return false
	}
	switch {
	case h[vnetFlags]&vnetNeedsCsum != 0:
		start, offset := h.field(vnetCsumStart), h.field(vnetCsumOffset)
		if start < ip4MinHeader || start+offset+2 > size {
			return false
		}
		m.Checksum, m.CsumStart, m.CsumOffset = packet.ChecksumPartial, uint16(start), uint16(offset)
	case h[vnetGSOType] != vnetGSONone:
		return false // VIRTIO 1.2, 5.1.6.4.1: the checksum of a super-segment is partial
	case h[vnetFlags]&vnetDataValid != 0:
		m.Checksum = packet.ChecksumVerified
	}
	return h[vnetGSOType] == vnetGSONone || h.decodeGSO(m, front, size)
}

// decodeGSO is the part of decode for super-segments. Their checksum is known to be partial and to lie in the packet.
func (h *vnetHeader) decodeGSO(m *packet.Meta, front []byte, size int) bool {
	kind := gsoKind(h[vnetGSOType], front[0]>>4)
	end, ok := headerEnd(kind, int(m.CsumStart), buffer.Vec{front})
	segment := h.field(vnetGSOSize)
	if !ok || end > size || segment == 0 || m.CsumOffset != checksumOffset(kind) {
		return false
	}
	if size-end <= segment {
		return true // one segment is not a super-segment
	}
	m.GSO, m.GSOSize = kind, uint16(segment)
	m.Segs = uint16((size - end + segment - 1) / segment)
	return true
}

// gsoKind is the kind of super-segment that a vnet header names, for a packet of the given IP version; GSONone if there is no such.
func gsoKind(vnetType, version byte) packet.GSO {
	switch t := vnetType &^ vnetGSOECN; {
	case t == vnetGSOTCP4 && version == 4:
		return packet.GSOTCP4
	case t == vnetGSOTCP6 && version == 6:
		return packet.GSOTCP6
	case t == vnetGSOUDPL4 && version == 4:
		return packet.GSOUDP4
	case t == vnetGSOUDPL4 && version == 6:
		return packet.GSOUDP6
	}
	return packet.GSONone
}

// encode makes h say what p's metadata does. v is the whole of p. False if p is a super-segment that the kernel could not cut.
func (h *vnetHeader) encode(p *packet.Packet, v buffer.Vec) bool {
	*h = vnetHeader{}
	if p.Checksum == packet.ChecksumPartial {
		h[vnetFlags] = vnetNeedsCsum
		h.setField(vnetCsumStart, int(p.CsumStart))
		h.setField(vnetCsumOffset, int(p.CsumOffset))
	}
	if p.GSO == packet.GSONone {
		return true
	}
	end, ok := headerEnd(p.GSO, int(p.CsumStart), v)
	if !ok || p.Checksum != packet.ChecksumPartial || p.GSOSize == 0 {
		return false
	}
	switch p.GSO {
	case packet.GSOTCP4:
		h[vnetGSOType] = vnetGSOTCP4
	case packet.GSOTCP6:
		h[vnetGSOType] = vnetGSOTCP6
	case packet.GSOUDP4, packet.GSOUDP6:
		h[vnetGSOType] = vnetGSOUDPL4
	}
	if h[vnetGSOType] != vnetGSOUDPL4 {
		if flags, _ := byteAt(v, int(p.CsumStart)+tcpFlags); flags&tcpCWR != 0 {
			h[vnetGSOType] |= vnetGSOECN
		}
	}
	h.setField(vnetHeaderLen, end)
	h.setField(vnetGSOSize, int(p.GSOSize))
	return true
}

// headerEnd is where the payload begins in a packet of the given kind whose transport header is at start. False if v, the front of the
// packet, does not hold a transport header there that could be.
func headerEnd(kind packet.GSO, start int, v buffer.Vec) (int, bool) {
	switch kind {
	case packet.GSOTCP4, packet.GSOTCP6:
		b, ok := byteAt(v, start+tcpDataOffset)
		n := int(b>>4) * 4
		return start + n, ok && n >= tcpMinHeader
	case packet.GSOUDP4, packet.GSOUDP6:
		return start + udpHeader, true
	}
	return 0, false
}

// checksumOffset is where the transport header of a kind of super-segment has its checksum.
func checksumOffset(kind packet.GSO) uint16 {
	if kind == packet.GSOUDP4 || kind == packet.GSOUDP6 {
		return udpChecksum
	}
	return tcpChecksum
}

// byteAt returns byte off of what v holds, false if it holds fewer.
func byteAt(v buffer.Vec, off int) (byte, bool) {
	for _, b := range v {
		if off < len(b) {
			return b[off], true
		}
		off -= len(b)
	}
	return 0, false
}
