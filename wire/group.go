package wire

import (
	"net/netip"
	"time"
)

// AddrList is a list of addresses in a message, all of one family.
type AddrList struct {
	b    []byte
	size int // ipv4AddrLen or ipv6AddrLen
}

// Len is how many addresses there are.
func (l AddrList) Len() int {
	if l.size == 0 {
		return 0
	}
	return len(l.b) / l.size
}

// At is address i, 0 <= i < Len().
func (l AddrList) At(i int) netip.Addr {
	if l.size == ipv4AddrLen {
		return addr4(l.b[i*ipv4AddrLen:])
	}
	return addr16(l.b[i*ipv6AddrLen:])
}

// GroupRecordType says what a record of an IGMPv3 or MLDv2 report tells of a group (RFC 3376 §4.2.12, RFC 3810 §5.2.12).
type GroupRecordType uint8

// Group record types.
const (
	GroupIsInclude       GroupRecordType = 1 // current state: only from these sources
	GroupIsExclude       GroupRecordType = 2 // current state: from all but these sources
	GroupToInclude       GroupRecordType = 3 // changed to include mode; with no sources: left
	GroupToExclude       GroupRecordType = 4 // changed to exclude mode; with no sources: joined
	GroupAllowNewSources GroupRecordType = 5
	GroupBlockOldSources GroupRecordType = 6
)

// GroupRecord is a record of an IGMPv3 or MLDv2 report.
type GroupRecord struct {
	Type    GroupRecordType
	Group   netip.Addr
	Sources AddrList
}

// GroupRecords goes through the records of an IGMPv3 or MLDv2 report, as many as its header says. Auxiliary data is passed over.
type GroupRecords struct {
	rest   []byte
	left   int // records still to come
	size   int // of an address
	record GroupRecord
	err    error
}

// Next goes to the next record, and reports whether there is one.
func (it *GroupRecords) Next() bool {
	if it.left == 0 || it.err != nil {
		return false
	}
	b, head := it.rest, 4+it.size
	if len(b) < head {
		it.err = ErrShort
		return false
	}
	sources := int(get16(b[2:])) * it.size
	end := head + sources + int(b[1])*4
	if len(b) < end {
		it.err = ErrShort
		return false
	}
	it.record = GroupRecord{
		Type:    GroupRecordType(b[0]),
		Group:   AddrList{b[4:head], it.size}.At(0),
		Sources: AddrList{b[head : head+sources], it.size},
	}
	it.rest = b[end:]
	it.left--
	return true
}

// Record is the record that Next went to.
func (it *GroupRecords) Record() GroupRecord { return it.record }

// Err is ErrShort if the message ends before its records do, else nil.
func (it *GroupRecords) Err() error { return it.err }

// GroupRecordFields is one record that PutIGMPv3Report and PutMLDv2Report write.
type GroupRecordFields struct {
	Type    GroupRecordType
	Group   netip.Addr
	Sources []netip.Addr
}

// groupRecordsLen is the length of records with addresses of size bytes.
func groupRecordsLen(records []GroupRecordFields, size int) int {
	n := 0
	for i := range records {
		n += 4 + size + len(records[i].Sources)*size
	}
	return n
}

// putGroupRecords writes records with addresses of size bytes into b.
func putGroupRecords(b []byte, records []GroupRecordFields, size int) {
	put := putAddr4
	if size == ipv6AddrLen {
		put = putAddr16
	}
	for i := range records {
		r := &records[i]
		b[0], b[1] = uint8(r.Type), 0
		put16(b[2:], uint16(len(r.Sources)))
		put(b[4:], r.Group)
		b = b[4+size:]
		for _, s := range r.Sources {
			put(b, s)
			b = b[size:]
		}
	}
}

// floatTime decodes a time of which the values from 1<<bits on are a floating-point number with an exponent of three bits and a
// mantissa of bits-3 (RFC 3376 §4.1.1: 7 bits; RFC 3810 §5.1.3: 15 bits).
func floatTime(code uint32, bits uint, unit time.Duration) time.Duration {
	if code < 1<<bits {
		return time.Duration(code) * unit
	}
	mantissa := code&(1<<(bits-3)-1) | 1<<(bits-3)
	exponent := code >> (bits - 3) & 7
	return time.Duration(mantissa<<(exponent+3)) * unit
}
