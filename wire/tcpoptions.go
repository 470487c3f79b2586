package wire

// TCPOptionKind is the first byte of a TCP option.
type TCPOptionKind uint8

// TCP option kinds, as assigned by IANA.
const (
	TCPOptionEnd           TCPOptionKind = 0   // end of the list, RFC 9293 §3.2
	TCPOptionNOP           TCPOptionKind = 1   // padding, RFC 9293 §3.2
	TCPOptionMSS           TCPOptionKind = 2   // RFC 9293 §3.2
	TCPOptionWScale        TCPOptionKind = 3   // RFC 7323 §2
	TCPOptionSACKPermitted TCPOptionKind = 4   // RFC 2018 §2
	TCPOptionSACK          TCPOptionKind = 5   // RFC 2018 §3
	TCPOptionTimestamps    TCPOptionKind = 8   // RFC 7323 §3
	TCPOptionMD5           TCPOptionKind = 19  // RFC 2385
	TCPOptionUserTimeout   TCPOptionKind = 28  // RFC 5482
	TCPOptionAO            TCPOptionKind = 29  // RFC 5925
	TCPOptionFastOpen      TCPOptionKind = 34  // RFC 7413
	TCPOptionAccECN0       TCPOptionKind = 172 // RFC 9768
	TCPOptionAccECN1       TCPOptionKind = 174 // RFC 9768
)

// Lengths of TCP options, kind and length bytes included.
const (
	tcpMSSLen           = 4
	tcpWScaleLen        = 3
	tcpSACKPermittedLen = 2
	tcpTimestampsLen    = 10
	tcpSACKBlockLen     = 8
	tcpMD5Len           = 18
	tcpMaxAuth          = 18 // data of TCP-MD5 or TCP-AO: so that the options of a SYN still fit
	tcpMaxSACKBlocks    = 4
	tcpMinCookie        = 4 // RFC 7413 §4.1.1
	tcpMaxCookie        = 16
	tcpAccECNFieldLen   = 3 // RFC 9768 §3.2.3
	tcpMaxAccECNFields  = 3
)

// TCPOption is one option of a TCP header.
type TCPOption struct {
	Kind TCPOptionKind
	Data []byte // behind kind and length
}

// TCPOptionIter goes through the options of a TCP header. NOPs are passed over; the end-of-list option, the end of the header and an
// impossible length end it.
type TCPOptionIter struct {
	rest      []byte
	option    TCPOption
	malformed bool
}

// IterTCPOptions iterates over option bytes that do not lie in a header.
func IterTCPOptions(b []byte) TCPOptionIter { return TCPOptionIter{rest: b} }

// Next goes to the next option, and reports whether there is one.
func (it *TCPOptionIter) Next() bool {
	b := it.rest
	for len(b) > 0 && TCPOptionKind(b[0]) == TCPOptionNOP {
		b = b[1:]
	}
	it.rest = nil
	if len(b) == 0 || TCPOptionKind(b[0]) == TCPOptionEnd {
		return false
	}
	if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
		it.malformed = true
		return false
	}
	n := int(b[1])
	it.option = TCPOption{Kind: TCPOptionKind(b[0]), Data: b[2:n:n]}
	it.rest = b[n:]
	return true
}

// Option is the option that Next went to.
func (it *TCPOptionIter) Option() TCPOption { return it.option }

// Malformed reports whether the iteration ended at an option without a length byte, with a length below 2, or with one past the end
// of the options (RFC 9293 §3.2, MUST-7).
func (it *TCPOptionIter) Malformed() bool { return it.malformed }

// SACKBlock is a range of sequence numbers that the peer has, from Left up to but not including Right.
type SACKBlock struct{ Left, Right uint32 }

// AccECN is the option that feeds back how many payload bytes came with each ECN codepoint (RFC 9768 §3.2.3): three counters of 24 bits, of
// which the last may be left off. Which ones are there depends on the order: E0B, CEB, E1B or the other way round.
type AccECN struct {
	Kind          TCPOptionKind // TCPOptionAccECN0, TCPOptionAccECN1, which is the other order, or 0: there is no option
	Fields        uint8         // how many of the counters are there, in the order of Kind
	E0B, CEB, E1B uint32        // ECT(0), CE, ECT(1): the low 24 bits of the receiver's counters
}

// HasE0B reports whether the counter of ECT(0) is there.
func (a *AccECN) HasE0B() bool {
	return a.Kind == TCPOptionAccECN0 && a.Fields > 0 || a.Kind == TCPOptionAccECN1 && a.Fields > 2
}

// HasCEB reports whether the counter of CE is there.
func (a *AccECN) HasCEB() bool { return a.Kind != 0 && a.Fields > 1 }

// HasE1B reports whether the counter of ECT(1) is there.
func (a *AccECN) HasE1B() bool {
	return a.Kind == TCPOptionAccECN1 && a.Fields > 0 || a.Kind == TCPOptionAccECN0 && a.Fields > 2
}

// field is the i-th counter of the order.
func (a *AccECN) field(i int) *uint32 {
	switch {
	case i == 1:
		return &a.CEB
	case (i == 0) == (a.Kind == TCPOptionAccECN0):
		return &a.E0B
	}
	return &a.E1B
}

// parse takes the counters that are whole: "if the AccECN Option is of any other length, implementations MUST use those whole 3-octet
// fields that fit within the length and ignore the remainder" (RFC 9768 §3.2.3).
func (a *AccECN) parse(kind TCPOptionKind, d []byte) {
	*a = AccECN{Kind: kind, Fields: uint8(min(len(d)/tcpAccECNFieldLen, tcpMaxAccECNFields))}
	for i := range int(a.Fields) {
		b := d[i*tcpAccECNFieldLen:]
		*a.field(i) = uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2])
	}
}

// size is the length of the option with its padding; 0: there is none.
func (a *AccECN) size() int {
	if a.Kind == 0 {
		return 0
	}
	return (2 + int(min(a.Fields, tcpMaxAccECNFields))*tcpAccECNFieldLen + 3) &^ 3
}

// put writes the option, padded in front with NOPs.
func (a *AccECN) put(b []byte) int {
	n := a.size()
	if n == 0 {
		return 0
	}
	fields := int(min(a.Fields, tcpMaxAccECNFields))
	at := n - 2 - fields*tcpAccECNFieldLen
	for i := range at {
		b[i] = uint8(TCPOptionNOP)
	}
	b[at], b[at+1] = uint8(a.Kind), uint8(2+fields*tcpAccECNFieldLen)
	for i := range fields {
		v, f := *a.field(i), b[at+2+i*tcpAccECNFieldLen:]
		f[0], f[1], f[2] = uint8(v>>16), uint8(v>>8), uint8(v)
	}
	return n
}

// TCPOptions is the options of a TCP header that TCP itself acts on, decoded (Parse) or to be encoded (Put).
type TCPOptions struct {
	TSVal, TSEcr  uint32
	MSS           uint16
	WScale        uint8 // as sent: may be above 14, which the receiver takes as 14 (RFC 7323 §2.3)
	NSACK         uint8 // how many of SACK are set
	HasMSS        bool
	HasWScale     bool
	SACKPermitted bool
	TS            bool // TSVal and TSEcr are set
	HasFastOpen   bool // a Fast Open option: a request if FastOpen is empty
	Malformed     bool // see Parse
	SACK          [tcpMaxSACKBlocks]SACKBlock
	AccECN        AccECN
	// AuthKind is TCPOptionMD5 or TCPOptionAO, 0 without either, and Auth the option's data. Parse borrows it from the header, and leaves
	// it nil if there are two such options, or one of an impossible length.
	AuthKind TCPOptionKind
	Auth     []byte
	FastOpen []byte // the cookie, 4 to 16 bytes; Parse borrows it from the header
}

// Parse sets o to the options in b (TCP.OptionBytes).
//
// Unknown options are skipped. At the first option whose length is impossible (lacking, below 2, or past the end), or is not the one
// that its kind has, parsing stops: the options before it count, those behind it do not (where they would begin is a guess), and
// Malformed is set. The one exception is a Fast Open option of another length than 2, 6, 8 … 18: it is skipped, as RFC 7413 §4.1.1
// wants. Where an option comes twice the last one counts. Which options may come with which flags is not judged here.
func (o *TCPOptions) Parse(b []byte) {
	*o = TCPOptions{}
	// The layout of nearly every segment of an established connection (RFC 7323 appendix A).
	if len(b) == 12 && get32(b) == 0x0101080a {
		o.TS, o.TSVal, o.TSEcr = true, get32(b[4:]), get32(b[8:])
		return
	}
	it := TCPOptionIter{rest: b}
	for it.Next() {
		if !o.take(it.option) {
			o.Malformed = true
			return
		}
	}
	o.Malformed = it.malformed
}

// take decodes one option; false if its length is not the one that its kind has.
func (o *TCPOptions) take(opt TCPOption) bool {
	d := opt.Data
	switch opt.Kind {
	case TCPOptionMSS:
		if len(d) != tcpMSSLen-2 {
			return false
		}
		o.HasMSS, o.MSS = true, get16(d)
	case TCPOptionWScale:
		if len(d) != tcpWScaleLen-2 {
			return false
		}
		o.HasWScale, o.WScale = true, d[0]
	case TCPOptionSACKPermitted:
		if len(d) != tcpSACKPermittedLen-2 {
			return false
		}
		o.SACKPermitted = true
	case TCPOptionTimestamps:
		if len(d) != tcpTimestampsLen-2 {
			return false
		}
		o.TS, o.TSVal, o.TSEcr = true, get32(d), get32(d[4:])
	case TCPOptionSACK:
		return o.takeSACK(d)
	case TCPOptionAccECN0, TCPOptionAccECN1:
		o.AccECN.parse(opt.Kind, d)
	case TCPOptionMD5, TCPOptionAO:
		o.takeAuth(opt)
	case TCPOptionFastOpen:
		if validCookie(len(d)) {
			o.HasFastOpen, o.FastOpen = true, d
		}
	}
	return true
}

// takeAuth keeps the data of an authentication option. RFC 5925 §2.2: there MUST NOT be more than one TCP-AO option in a segment, nor TCP-AO
// beside TCP-MD5.
func (o *TCPOptions) takeAuth(opt TCPOption) {
	twice := o.AuthKind != 0
	o.AuthKind, o.Auth = opt.Kind, opt.Data
	if n := len(opt.Data); twice || opt.Kind == TCPOptionMD5 && n != tcpMD5Len-2 || n < 2 {
		o.Auth = nil
	}
}

// takeSACK decodes the blocks of a SACK option, of which there are 1 to 4.
func (o *TCPOptions) takeSACK(d []byte) bool {
	n := len(d) / tcpSACKBlockLen
	if n == 0 || n > len(o.SACK) || len(d)%tcpSACKBlockLen != 0 {
		return false
	}
	o.NSACK = uint8(n)
	for i := range n {
		o.SACK[i] = SACKBlock{get32(d[i*tcpSACKBlockLen:]), get32(d[i*tcpSACKBlockLen+4:])}
	}
	return true
}

// validCookie reports whether a Fast Open option may have a cookie of n bytes; 0 asks for one.
func validCookie(n int) bool { return n == 0 || n >= tcpMinCookie && n <= tcpMaxCookie && n%2 == 0 }

// SACKBlocks is the SACK blocks that are set.
func (o *TCPOptions) SACKBlocks() []SACKBlock { return o.SACK[:min(int(o.NSACK), len(o.SACK))] }

// Len is the number of bytes that Put writes: a multiple of 4, at most 40.
func (o *TCPOptions) Len() int {
	n := o.baseLen()
	n += o.cookieLen(n)
	n += o.accECNLen(n)
	if k := o.sackCount(n); k > 0 {
		n += 4 + k*tcpSACKBlockLen
	}
	return n
}

// authLen is the padded length of the authentication option, which is left off if it is longer than there are algorithms for.
func (o *TCPOptions) authLen() int {
	if o.AuthKind == 0 || len(o.Auth) > tcpMaxAuth {
		return 0
	}
	return (2 + len(o.Auth) + 3) &^ 3
}

// baseLen is the length of the options of fixed size, each padded to a multiple of 4. Without authentication it is at most 20.
func (o *TCPOptions) baseLen() int {
	n := o.authLen()
	if o.HasMSS {
		n += 4
	}
	switch {
	case o.TS:
		n += 12 // the two NOPs before it make room for SACK-permitted
	case o.SACKPermitted:
		n += 4
	}
	if o.HasWScale {
		n += 4
	}
	return n
}

// cookieLen is the padded length of the Fast Open option behind n other bytes; 0 if there is none or it does not fit.
func (o *TCPOptions) cookieLen(n int) int {
	if !o.HasFastOpen || !validCookie(len(o.FastOpen)) {
		return 0
	}
	if k := (2 + len(o.FastOpen) + 3) &^ 3; n+k <= TCPMaxOptionsLen {
		return k
	}
	return 0
}

// accECNLen is the padded length of the AccECN option behind n other bytes; 0 if there is none or it does not fit.
func (o *TCPOptions) accECNLen(n int) int {
	if k := o.AccECN.size(); n+k <= TCPMaxOptionsLen {
		return k
	}
	return 0
}

// sackCount is how many SACK blocks fit behind n other bytes.
func (o *TCPOptions) sackCount(n int) int {
	return max(0, min(len(o.SACKBlocks()), (TCPMaxOptionsLen-n-4)/tcpSACKBlockLen))
}

// Put writes the options into b, in the order that Linux sends them and middleboxes are used to (authentication, MSS, SACK-permitted,
// timestamps, NOP, window scale; NOP, NOP, timestamps, AccECN, NOP, NOP, SACK), padded with NOPs to a multiple of 4, and returns how many
// bytes that is. What does not fit into 40 bytes is left off: the last SACK blocks, AccECN, and a cookie that has no room even without them.
// b has at least Len() bytes.
func (o *TCPOptions) Put(b []byte) int {
	n := 0
	if o.authLen() > 0 {
		n = o.putAuth(b)
	}
	if o.HasMSS {
		put32(b[n:], uint32(TCPOptionMSS)<<24|tcpMSSLen<<16|uint32(o.MSS))
		n += 4
	}
	const nopNop = uint16(TCPOptionNOP)<<8 | uint16(TCPOptionNOP)
	const sackOK = uint16(TCPOptionSACKPermitted)<<8 | tcpSACKPermittedLen
	switch {
	case o.TS:
		first := nopNop
		if o.SACKPermitted {
			first = sackOK
		}
		put16(b[n:], first)
		put16(b[n+2:], uint16(TCPOptionTimestamps)<<8|tcpTimestampsLen)
		put32(b[n+4:], o.TSVal)
		put32(b[n+8:], o.TSEcr)
		n += 12
	case o.SACKPermitted:
		put16(b[n:], nopNop)
		put16(b[n+2:], sackOK)
		n += 4
	}
	if o.HasWScale {
		put32(b[n:], uint32(TCPOptionNOP)<<24|uint32(TCPOptionWScale)<<16|tcpWScaleLen<<8|uint32(o.WScale))
		n += 4
	}
	return o.putVariable(b, n)
}

// putAuth writes the authentication option, with NOPs before it where its length is no multiple of 4, and returns the length of all.
func (o *TCPOptions) putAuth(b []byte) int {
	n := o.authLen()
	at := n - 2 - len(o.Auth)
	for i := range at {
		b[i] = uint8(TCPOptionNOP)
	}
	b[at], b[at+1] = uint8(o.AuthKind), uint8(2+len(o.Auth))
	copy(b[at+2:], o.Auth)
	return n
}

// putVariable writes AccECN, SACK blocks and Fast Open cookie behind the first n bytes, and returns the length of all.
func (o *TCPOptions) putVariable(b []byte, n int) int {
	cookie := o.cookieLen(n)
	if o.accECNLen(n+cookie) > 0 {
		n += o.AccECN.put(b[n:])
	}
	if k := o.sackCount(n + cookie); k > 0 {
		put32(b[n:], uint32(TCPOptionNOP)<<24|uint32(TCPOptionNOP)<<16|uint32(TCPOptionSACK)<<8|uint32(2+k*tcpSACKBlockLen))
		n += 4
		for _, s := range o.SACK[:k] {
			put32(b[n:], s.Left)
			put32(b[n+4:], s.Right)
			n += tcpSACKBlockLen
		}
	}
	if cookie > 0 {
		b[n], b[n+1] = uint8(TCPOptionFastOpen), uint8(2+len(o.FastOpen))
		for i := n + 2 + copy(b[n+2:], o.FastOpen); i < n+cookie; i++ {
			b[i] = uint8(TCPOptionNOP)
		}
		n += cookie
	}
	return n
}
