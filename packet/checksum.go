package packet

import (
	"encoding/binary"

	"github.com/weirnet/weir/checksum"
)

// udpChecksum is where the checksum lies in a UDP header: the one protocol in which a field of zero means that there is none.
const udpChecksum = 6

// FinishChecksum completes a partial checksum in place (the last point before a device without that offload, before fragmentation,
// fault injection and capture) and sets ChecksumNone. It does nothing, and returns true, if the checksum is not partial. False, and
// nothing done, for a super-segment (those are cut first, see internal/offload) and for a CsumStart or CsumOffset outside the packet.
//
// CsumStart counts from the network header. After Deliverable that is where it was before; in a packet in which none is known, it is
// the first unread byte.
func (p *Packet) FinishChecksum() bool {
	p.mustLive()
	if p.Checksum != ChecksumPartial {
		return true
	}
	start := p.networkStart() + int(p.CsumStart)
	field := start + int(p.CsumOffset)
	if p.GSO != GSONone || field+2 > p.Size() {
		return false
	}
	sum := ^p.sum(start)
	if sum == 0 && p.CsumOffset == udpChecksum {
		sum = 0xffff // RFC 768: a computed zero is transmitted as all ones
	}
	p.setWord(field, sum)
	p.Checksum = ChecksumNone
	return true
}

// Sum returns the folded sum (checksum.Sum, not complemented) of all bytes from the given one on, counted from the packet's first: from
// HeaderSize on it is that of what is unread. Beyond the end it is 0. It changes nothing and copies nothing.
func (p *Packet) Sum(from int) uint16 {
	p.mustLive()
	return p.sum(max(from, 0))
}

// networkStart is where the network header begins, or must, counted from the packet's first byte.
func (p *Packet) networkStart() int {
	switch h := p.headers[Network]; {
	case h.len > 0 && h.off < block:
		return int(h.off) - int(p.front)
	case h.len > 0:
		return int(p.end-p.front) + int(h.off) - block
	case p.network >= 0:
		return int(p.network - p.front)
	}
	return p.HeaderSize()
}

// sum is the sum of all bytes from the given one on, counted from the packet's first.
func (p *Packet) sum(from int) uint16 {
	var sum uint16
	n := 0
	inBlock := int(p.end - p.front)
	if from < inBlock {
		sum = checksum.Sum(p.block[int(p.front)+from:p.end], 0)
		n = inBlock - from
	}
	from = max(from-inBlock, 0)
	if size := p.asideSize(); size > 0 {
		if from < size {
			sum = checksum.Combine(sum, n, p.aside.Sum(from, size-from, 0))
			n += size - from
		}
		from = max(from-size, 0)
	}
	return checksum.Combine(sum, n, p.data.Sum(from, p.data.Size()-from, 0))
}

// setWord writes a big-endian word at the given byte, counted from the packet's first; what of it is payload is copied first if others
// share it.
func (p *Packet) setWord(at int, w uint16) {
	if at += int(p.front); at+2 <= int(p.end) {
		binary.BigEndian.PutUint16(p.block[at:], w)
		return
	}
	for _, b := range [2]byte{byte(w >> 8), byte(w)} {
		p.setByte(at-int(p.front), b)
		at++
	}
}

func (p *Packet) setByte(at int, b byte) {
	if at += int(p.front); at < int(p.end) {
		p.block[at] = b
		return
	}
	rope, at := &p.data, at-int(p.end)
	if size := p.asideSize(); at < size {
		rope = p.aside
	} else {
		at -= size
	}
	rope.Writable(at, 1)
	rope.SubApply(at, 1, func(s []byte) { s[0] = b })
}
