package wire

// IPv4OptionType is the first byte of an IPv4 option: the copied flag, the class and the number (RFC 791 §3.1).
type IPv4OptionType uint8

// IPv4 option types.
const (
	IPv4OptionEnd         IPv4OptionType = 0   // end of the list
	IPv4OptionNOP         IPv4OptionType = 1   // padding
	IPv4OptionRecordRoute IPv4OptionType = 7   // RFC 791
	IPv4OptionTimestamp   IPv4OptionType = 68  // RFC 791
	IPv4OptionLSRR        IPv4OptionType = 131 // loose source and record route, RFC 791
	IPv4OptionSSRR        IPv4OptionType = 137 // strict source and record route, RFC 791
	IPv4OptionRouterAlert IPv4OptionType = 148 // RFC 2113
)

// Copied reports whether the option goes into every fragment, not only the first.
func (t IPv4OptionType) Copied() bool { return t&0x80 != 0 }

// IPv4Option is one option of an IPv4 header.
type IPv4Option struct {
	Type   IPv4OptionType
	Offset int    // of the type byte, from the start of the IPv4 header: what a parameter problem points to
	Data   []byte // behind type and length
}

// IPv4Options goes through the options of an IPv4 header. NOPs are passed over; the end-of-list option, the end of the header and an
// impossible length end it.
type IPv4Options struct {
	rest   []byte
	offset int // of rest in the header
	option IPv4Option
	err    error
}

// Next goes to the next option, and reports whether there is one.
func (it *IPv4Options) Next() bool {
	b := it.rest
	for len(b) > 0 && IPv4OptionType(b[0]) == IPv4OptionNOP {
		b = b[1:]
		it.offset++
	}
	it.rest = nil
	if len(b) == 0 || IPv4OptionType(b[0]) == IPv4OptionEnd {
		return false
	}
	if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
		it.err = ErrOption
		return false
	}
	n := int(b[1])
	it.option = IPv4Option{Type: IPv4OptionType(b[0]), Offset: it.offset, Data: b[2:n:n]}
	it.rest = b[n:]
	it.offset += n
	return true
}

// Option is the option that Next went to.
func (it *IPv4Options) Option() IPv4Option { return it.option }

// Err is ErrOption if the iteration ended at an option with an impossible length, else nil.
func (it *IPv4Options) Err() error { return it.err }

// Pointer is the offset from the start of the IPv4 header of the option that Err complains about, for an ICMP parameter problem.
func (it *IPv4Options) Pointer() int { return it.offset }
