package wire

import (
	"net/netip"
	"time"
)

// Sizes of MLD messages, ICMPv6 header included.
const (
	MLDLen         = 24 // of version 1
	MLDv2QueryLen  = 28 // without sources
	mldv2ReportLen = 8  // without records
)

// MLD is a view of a multicast listener query, report or done message (RFC 2710, RFC 3810), whole and contiguous.
type MLD []byte

// ParseMLD checks an ICMPv6 message and returns its view. Errors: ErrShort (also when a version 2 query has fewer sources than it
// says); ErrFormat for another type of message, and for a query of 25 to 27 bytes, which is of no version (RFC 3810 §8.1: to be
// ignored).
func ParseMLD(m ICMPv6) (MLD, error) {
	n := MLDLen
	switch m.Type() {
	case ICMPv6MLDv2Report:
		n = mldv2ReportLen
	case ICMPv6MLDQuery:
		if len(m) > MLDLen && len(m) < MLDv2QueryLen {
			return nil, ErrFormat
		}
		if len(m) >= MLDv2QueryLen {
			n = MLDv2QueryLen + int(get16(m[26:]))*ipv6AddrLen
		}
	case ICMPv6MLDReport, ICMPv6MLDDone:
	default:
		return nil, ErrFormat
	}
	if len(m) < n {
		return nil, ErrShort
	}
	return MLD(m), nil
}

// Type is the message's type.
func (m MLD) Type() ICMPv6Type { return ICMPv6Type(m[0]) }

// QueryVersion is the version of a query: 1 or 2 (RFC 3810 §8.1).
func (m MLD) QueryVersion() int {
	if len(m) >= MLDv2QueryLen {
		return 2
	}
	return 1
}

// MaxRespTime is the time within which a query is to be answered.
func (m MLD) MaxRespTime() time.Duration {
	code := uint32(get16(m[4:]))
	if m.QueryVersion() == 2 {
		return floatTime(code, 15, time.Millisecond)
	}
	return time.Duration(code) * time.Millisecond
}

// Group is the group of any message but a version 2 report, of which it is ::, as of a general query.
func (m MLD) Group() netip.Addr {
	if m.Type() == ICMPv6MLDv2Report {
		return netip.IPv6Unspecified()
	}
	return addr16(m[8:])
}

// Sources is the sources that a version 2 query asks about; empty in others.
func (m MLD) Sources() AddrList {
	if m.Type() != ICMPv6MLDQuery || len(m) < MLDv2QueryLen {
		return AddrList{}
	}
	return AddrList{m[MLDv2QueryLen : MLDv2QueryLen+int(get16(m[26:]))*ipv6AddrLen], ipv6AddrLen}
}

// Records iterates over the records of a version 2 report; of others it iterates over nothing.
func (m MLD) Records() GroupRecords {
	if m.Type() != ICMPv6MLDv2Report {
		return GroupRecords{}
	}
	return GroupRecords{rest: m[mldv2ReportLen:], left: int(get16(m[6:])), size: ipv6AddrLen}
}

// MLDFields is what PutMLD writes.
type MLDFields struct {
	Type    ICMPv6Type // ICMPv6MLDQuery, ICMPv6MLDReport or ICMPv6MLDDone
	MaxResp uint16     // milliseconds, in a query
	Group   netip.Addr
}

// PutMLD writes a message of version 1 into the first 24 bytes of b, its checksum 0, and returns its view.
func PutMLD(b []byte, f MLDFields) ICMPv6 {
	m := PutICMPv6(b[:MLDLen:MLDLen], ICMPv6Fields{Type: f.Type, Rest: uint32(f.MaxResp) << 16})
	putAddr16(m[8:], f.Group)
	return m
}

// MLDv2ReportLen is the number of bytes that PutMLDv2Report writes.
func MLDv2ReportLen(records []GroupRecordFields) int {
	return mldv2ReportLen + groupRecordsLen(records, ipv6AddrLen)
}

// PutMLDv2Report writes a report into the first MLDv2ReportLen(records) bytes of b, its checksum 0, and returns its view.
func PutMLDv2Report(b []byte, records []GroupRecordFields) ICMPv6 {
	n := MLDv2ReportLen(records)
	m := PutICMPv6(b[:n:n], ICMPv6Fields{Type: ICMPv6MLDv2Report, Rest: uint32(uint16(len(records)))})
	putGroupRecords(m[mldv2ReportLen:], records, ipv6AddrLen)
	return m
}
