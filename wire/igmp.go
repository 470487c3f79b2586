package wire

import (
	"net/netip"
	"time"

	"github.com/weirnet/weir/checksum"
)

// Sizes of IGMP messages.
const (
	IGMPLen        = 8  // of versions 1 and 2, and the beginning of the reports of version 3
	IGMPv3QueryLen = 12 // without sources
)

// IGMPType is the type of an IGMP message.
type IGMPType uint8

// IGMP message types.
const (
	IGMPQuery    IGMPType = 0x11
	IGMPv1Report IGMPType = 0x12 // RFC 1112
	IGMPv2Report IGMPType = 0x16 // RFC 2236
	IGMPv2Leave  IGMPType = 0x17 // RFC 2236
	IGMPv3Report IGMPType = 0x22 // RFC 3376
)

// IGMP is a view of an IGMP message, whole and contiguous.
type IGMP []byte

// ParseIGMP checks a message and returns its view. Errors: ErrShort (also when a version 3 query has fewer sources than it says);
// ErrFormat for a query of 9 to 11 bytes, which is of no version (RFC 3376 §7.1: to be ignored).
func ParseIGMP(b []byte) (IGMP, error) {
	if len(b) < IGMPLen {
		return nil, ErrShort
	}
	m := IGMP(b)
	if m.Type() == IGMPQuery && len(b) > IGMPLen {
		if len(b) < IGMPv3QueryLen {
			return nil, ErrFormat
		}
		if len(b) < IGMPv3QueryLen+int(get16(b[10:]))*ipv4AddrLen {
			return nil, ErrShort
		}
	}
	return m, nil
}

// Type is the message's type.
func (m IGMP) Type() IGMPType { return IGMPType(m[0]) }

// QueryVersion is the version of a query: 1, 2 or 3 (RFC 3376 §7.1).
func (m IGMP) QueryVersion() int {
	switch {
	case len(m) >= IGMPv3QueryLen:
		return 3
	case m[1] != 0:
		return 2
	}
	return 1
}

// MaxRespTime is the time within which a query is to be answered; 10 s for version 1.
func (m IGMP) MaxRespTime() time.Duration {
	const tenth = 100 * time.Millisecond
	switch m.QueryVersion() {
	case 3:
		return floatTime(uint32(m[1]), 7, tenth)
	case 2:
		return time.Duration(m[1]) * tenth
	}
	return 100 * tenth
}

// Checksum is the checksum field.
func (m IGMP) Checksum() uint16 { return get16(m[2:]) }

// Group is the group of any message but a version 3 report; 0.0.0.0 in a general query.
func (m IGMP) Group() netip.Addr { return addr4(m[4:]) }

// Sources is the sources that a version 3 query asks about; empty in others.
func (m IGMP) Sources() AddrList {
	if m.Type() != IGMPQuery || len(m) < IGMPv3QueryLen {
		return AddrList{}
	}
	return AddrList{m[IGMPv3QueryLen : IGMPv3QueryLen+int(get16(m[10:]))*ipv4AddrLen], ipv4AddrLen}
}

// Records iterates over the records of a version 3 report; of others it iterates over nothing.
func (m IGMP) Records() GroupRecords {
	if m.Type() != IGMPv3Report {
		return GroupRecords{}
	}
	return GroupRecords{rest: m[IGMPLen:], left: int(get16(m[6:])), size: ipv4AddrLen}
}

// VerifyChecksum reports whether the checksum is right.
func (m IGMP) VerifyChecksum() bool { return checksum.Sum(m, 0) == 0xffff }

// computeChecksum returns what belongs into the checksum field.
func (m IGMP) computeChecksum() uint16 { return ^checksum.Sum(m[4:], checksum.Sum(m[:2], 0)) }

// IGMPFields is what PutIGMP writes.
type IGMPFields struct {
	Type    IGMPType
	MaxResp uint8 // tenths of a second, in a query
	Group   netip.Addr
}

// PutIGMP writes a message of version 1 or 2, with its checksum, into the first 8 bytes of b and returns its view.
func PutIGMP(b []byte, f IGMPFields) IGMP {
	m := IGMP(b[:IGMPLen:IGMPLen])
	m[0], m[1] = uint8(f.Type), f.MaxResp
	putAddr4(m[4:], f.Group)
	put16(m[2:], m.computeChecksum())
	return m
}

// IGMPv3ReportLen is the number of bytes that PutIGMPv3Report writes.
func IGMPv3ReportLen(records []GroupRecordFields) int {
	return IGMPLen + groupRecordsLen(records, ipv4AddrLen)
}

// PutIGMPv3Report writes a report, with its checksum, into the first IGMPv3ReportLen(records) bytes of b and returns its view.
func PutIGMPv3Report(b []byte, records []GroupRecordFields) IGMP {
	n := IGMPv3ReportLen(records)
	m := IGMP(b[:n:n])
	put32(m, uint32(IGMPv3Report)<<24)
	put32(m[4:], uint32(uint16(len(records))))
	putGroupRecords(m[IGMPLen:], records, ipv4AddrLen)
	put16(m[2:], m.computeChecksum())
	return m
}
