// Package offload joins neighbouring segments of one flow (GRO) and cuts super-segments (GSO) for devices that do neither.
//
// A super-segment is a packet of up to 64 KiB that stands for several of the wire: its headers are those of the first, with the lengths
// of the whole; packet.Meta.GSO says what it is, GSOSize how many bytes of payload each of them has (the last may have fewer). TCP is
// joined and cut; UDP is only cut: a receiver could not tell datagrams that arrived joined from one that was sent as one.
package offload
