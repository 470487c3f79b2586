// Package offload joins neighbouring segments of one flow (GRO) and cuts super-segments (GSO) for devices that do neither.
//
// A super-segment is a packet of up to 64 KiB that stands for several of the wire: its headers are those of the first, with the lengths
// of the whole; packet.Meta.GSO says what it is, GSOSize how many bytes of payload each of them has (the last may have fewer). Of TCP that
// is a stretch of the stream; of UDP it is datagrams of one flow and size (the last may be shorter), which stay datagrams: a receiver
// is told the size of each by the metadata. The length in the UDP header of such a one is that of the whole as well, and its checksum
// field, unless partial, means nothing: but zero over IPv4 means that none of the datagrams has one (RFC 768).
package offload
