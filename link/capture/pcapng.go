package capture

import (
	"encoding/binary"

	"github.com/weirnet/weir/buffer"
)

// pcapng (draft-ietf-opsawg-pcapng): the block types and options that we write, in little-endian order.
const (
	sectionHeaderBlock        = 0x0A0D0D0A
	interfaceDescriptionBlock = 1
	enhancedPacketBlock       = 6

	byteOrderMagic = 0x1A2B3C4D

	optEndOfOpt  = 0
	optUserAppl  = 4 // section: the program that wrote it
	optIfName    = 2
	optIfTSResol = 9
	optEPBFlags  = 2

	nanoseconds = 9 // if_tsresol: 10^-9 s
)

// linkType is a value of LINKTYPE_ (tcpdump.org/linktypes.html).
type linkType uint16

const (
	linkEthernet linkType = 1
	linkRaw      linkType = 101 // bare IPv4 or IPv6
)

// direction is the value of the lowest two bits of epb_flags.
type direction uint32

const (
	inbound  direction = 1
	outbound direction = 2
)

// encoder appends blocks to a byte slice.
type encoder struct{ b []byte }

func (e *encoder) u16(v uint16) { e.b = binary.LittleEndian.AppendUint16(e.b, v) }
func (e *encoder) u32(v uint32) { e.b = binary.LittleEndian.AppendUint32(e.b, v) }

// begin begins a block and returns where.
func (e *encoder) begin(blockType uint32) int {
	start := len(e.b)
	e.u32(blockType)
	e.u32(0) // total length, set by end
	return start
}

// end ends the block that began at start.
func (e *encoder) end(start int) {
	length := uint32(len(e.b) - start + 4)
	e.u32(length)
	binary.LittleEndian.PutUint32(e.b[start+4:], length)
}

// pad fills up to a multiple of four bytes after a value of n bytes.
func (e *encoder) pad(n int) {
	for ; n%4 != 0; n++ {
		e.b = append(e.b, 0)
	}
}

func (e *encoder) option(code uint16, value string) {
	e.u16(code)
	e.u16(uint16(len(value)))
	e.b = append(e.b, value...)
	e.pad(len(value))
}

func (e *encoder) endOptions() { e.option(optEndOfOpt, "") }

func (e *encoder) section() {
	start := e.begin(sectionHeaderBlock)
	e.u32(byteOrderMagic)
	e.u16(1) // version 1.0
	e.u16(0)
	e.u32(0xffffffff) // section length: not known
	e.u32(0xffffffff)
	e.option(optUserAppl, "weir")
	e.endOptions()
	e.end(start)
}

func (e *encoder) iface(name string, t linkType, snaplen int) {
	start := e.begin(interfaceDescriptionBlock)
	e.u16(uint16(t))
	e.u16(0)
	e.u32(uint32(snaplen))
	e.option(optIfName, name)
	e.option(optIfTSResol, string([]byte{nanoseconds}))
	e.endOptions()
	e.end(start)
}

// packet writes a packet's record. Complete gets the packet's own bytes, to mend them, before they are cut to snaplen.
func (e *encoder) packet(iface uint32, unixNano int64, d direction, snaplen int, pieces buffer.Vec, complete func([]byte)) {
	start := e.begin(enhancedPacketBlock)
	e.u32(iface)
	e.u32(uint32(uint64(unixNano) >> 32))
	e.u32(uint32(unixNano))
	lengths := len(e.b)
	e.u32(0)
	e.u32(0)
	data := len(e.b)
	for _, piece := range pieces {
		e.b = append(e.b, piece...)
	}
	complete(e.b[data:])
	size := len(e.b) - data
	kept := min(size, snaplen)
	e.b = e.b[:data+kept]
	binary.LittleEndian.PutUint32(e.b[lengths:], uint32(kept))
	binary.LittleEndian.PutUint32(e.b[lengths+4:], uint32(size))
	e.pad(kept)
	e.u16(optEPBFlags)
	e.u16(4)
	e.u32(uint32(d))
	e.endOptions()
	e.end(start)
}
