package weir

import (
	"encoding/binary"
	"net/netip"
)

// What the resolver needs of DNS messages (RFC 1035 §4). Package dnsmessage knows all of the format, and would be a tenth of what a program
// with weir is larger for; the tests hold this against it.

// The types and the class of records that are asked for, or of use.
const (
	dnsA     = 1
	dnsCNAME = 5
	dnsAAAA  = 28 // RFC 3596 §2.1
	dnsOPT   = 41 // RFC 6891 §6.1.1
	dnsINET  = 1  // class
)

const (
	dnsHeader    = 12      // bytes of a message's header
	dnsResponse  = 1 << 15 // flags of the header
	dnsTruncated = 1 << 9
	dnsRecursion = 1 << 8 // desired
	dnsCode      = 15     // mask of the response code
	dnsNoName    = 3      // response code: there is no such name
)

// dnsName is a name as messages have it when it is not compressed, each label behind its length, with the letters small: names that are the
// same are equal.
type dnsName string

// maxDNSName is how many bytes a dnsName has at most, and maxDNSLabel one of its labels (RFC 1035 §2.3.4).
const (
	maxDNSName  = 255
	maxDNSLabel = 63
)

// newDNSName is the name of a host, without a final dot; false if there can be none: labels are too short or too long, or hold other than
// printable characters.
func newDNSName(host string) (dnsName, bool) {
	b := make([]byte, 1, len(host)+2)
	label := 0 // where its length goes
	for i := 0; i <= len(host); i++ {
		switch {
		case i == len(host) || host[i] == '.':
			n := len(b) - label - 1
			if n == 0 || n > maxDNSLabel {
				return "", false
			}
			b[label] = byte(n)
			label = len(b)
			b = append(b, 0)
		case host[i] <= ' ' || host[i] > '~':
			return "", false
		default:
			b = append(b, lower(host[i]))
		}
	}
	return dnsName(b), len(b) <= maxDNSName
}

// lower makes a letter of ASCII small.
func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// dnsQuestion asks for one type of record of a name.
type dnsQuestion struct {
	name dnsName
	kind uint16
}

// query returns a query with its length in front, as TCP wants it (RFC 1035 §4.2.2), that says how much we take by UDP (RFC 6891).
func (q *dnsQuestion) query(id uint16) []byte {
	be := binary.BigEndian
	b := make([]byte, 2, 2+dnsHeader+maxDNSName+4+11)
	b = be.AppendUint16(b, id)
	b = be.AppendUint16(b, dnsRecursion)
	for _, records := range [4]uint16{1, 0, 0, 1} { // questions, answers, authorities, additionals
		b = be.AppendUint16(b, records)
	}
	b = append(b, q.name...)
	b = be.AppendUint16(b, q.kind)
	b = be.AppendUint16(b, dnsINET)
	b = append(b, 0) // OPT: of no name
	b = be.AppendUint16(b, dnsOPT)
	b = be.AppendUint16(b, lookupPayload)
	b = append(b, 0, 0, 0, 0, 0, 0) // no extended code, version 0, no flags, no options
	be.PutUint16(b, uint16(len(b)-2))
	return b
}

// dnsReader takes a message apart. Once something is not there, bad stays set, and all else is zero.
type dnsReader struct {
	msg []byte
	off int
	bad bool
}

// take is the next n bytes.
func (r *dnsReader) take(n int) []byte {
	if r.bad || n > len(r.msg)-r.off {
		r.bad = true
		return nil
	}
	r.off += n
	return r.msg[r.off-n : r.off]
}

func (r *dnsReader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

// dnsJumps is how often a name goes on elsewhere, at most: who compresses well needs one.
const dnsJumps = 10

// name is the next name. Where it is compressed (RFC 1035 §4.1.4) it goes on at a place before.
func (r *dnsReader) name() dnsName {
	var name [maxDNSName]byte
	n := 0
	at := dnsReader{msg: r.msg, off: r.off, bad: r.bad}
	jumps := 0
	for {
		head := at.take(1)
		if head == nil {
			break
		}
		size := int(head[0])
		if size >= 0xc0 {
			low := at.take(1)
			if low == nil {
				break
			}
			to := (size&0x3f)<<8 | int(low[0])
			if jumps == 0 {
				r.off = at.off
			}
			if jumps++; jumps > dnsJumps || to >= at.off {
				break
			}
			at.off = to
			continue
		}
		label := at.take(size)
		if size > maxDNSLabel || n+1+size > len(name) || at.bad {
			break
		}
		name[n] = byte(size)
		for i, c := range label {
			name[n+1+i] = lower(c)
		}
		n += 1 + size
		if size == 0 {
			if jumps == 0 {
				r.off = at.off
			}
			return dnsName(name[:n])
		}
	}
	r.bad = true
	return ""
}

// dnsRecord is what a record of an answer says: an address, or an alias.
type dnsRecord struct {
	name  dnsName
	addr  netip.Addr
	alias dnsName
}

// record is the next record of an answer; neither address nor alias: it is of no use.
func (r *dnsReader) record() (rec dnsRecord) {
	rec.name = r.name()
	kind, class := r.uint16(), r.uint16()
	r.take(4) // TTL
	size := int(r.uint16())
	end := r.off + size
	switch {
	case class != dnsINET:
		r.take(size)
	case kind == dnsA && size == 4, kind == dnsAAAA && size == 16:
		rec.addr, _ = netip.AddrFromSlice(r.take(size))
	case kind == dnsA, kind == dnsAAAA:
		r.bad = true
	case kind == dnsCNAME:
		rec.alias = r.name()
		r.bad = r.bad || r.off != end
	default:
		r.take(size)
	}
	return rec
}

// parse checks a message against the question and takes the addresses out of it. No address and no error: there is none.
func (q *dnsQuestion) parse(b []byte, id uint16) (addrs []netip.Addr, truncated bool, err error) {
	r := dnsReader{msg: b}
	gotID, flags, questions, answers := r.uint16(), r.uint16(), r.uint16(), r.uint16()
	r.take(4) // how many authorities and additionals
	if r.bad || gotID != id || flags&dnsResponse == 0 || questions == 0 {
		return nil, false, errForeign
	}
	name, kind, class := r.name(), r.uint16(), r.uint16()
	if r.bad || name != q.name || kind != q.kind || class != dnsINET {
		return nil, false, errForeign
	}
	for range questions - 1 {
		r.name()
		r.take(4)
	}
	switch {
	case r.bad:
		return nil, false, errServer
	case flags&dnsTruncated != 0:
		return nil, true, nil
	case flags&dnsCode == dnsNoName:
		return nil, false, nil
	case flags&dnsCode != 0:
		return nil, false, errServer
	}
	var all []dnsRecord
	for range answers {
		rec := r.record()
		if r.bad {
			return nil, false, errServer
		}
		if rec.addr.IsValid() || rec.alias != "" {
			all = append(all, rec)
		}
	}
	addrs, err = q.collect(all)
	return addrs, false, err
}

// collect follows the aliases of an answer (in whatever order they come) to the addresses at their end.
func (q *dnsQuestion) collect(all []dnsRecord) ([]netip.Addr, error) {
	name := q.name
	for range lookupChain {
		var addrs []netip.Addr
		var alias dnsName
		for i := range all {
			switch r := &all[i]; {
			case r.name != name:
			case r.addr.IsValid():
				addrs = append(addrs, r.addr)
			default:
				alias = r.alias
			}
		}
		if len(addrs) > 0 || alias == "" {
			return addrs, nil
		}
		name = alias
	}
	return nil, errServer
}
