package weir

// lowerASCII makes the letters of ASCII in a name small, as hosts and services are compared (RFC 4343). Package strings would do it for all
// letters there are, and every program with weir would carry their tables.
func lowerASCII(name string) string {
	b := []byte(name)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + ('a' - 'A')
		}
	}
	return string(b)
}
