package sandbox

// law is the coding of a sample.
type law int

const (
	linear law = iota // signed PCM of 16 bits
	muLaw             // ITU-T G.711, 8 bits
	aLaw              // ITU-T G.711, 8 bits
)

func (l law) String() string { return [...]string{"linear", "mu-law", "A-law"}[l] }

// muLawSamples and aLawSamples are the samples that each byte decodes to, on the scale
// of 16 bits.
var muLawSamples, aLawSamples = lawTable(muLawSample), lawTable(aLawSample)

func lawTable(sample func(byte) int64) *[256]int64 {
	var table [256]int64
	for i := range table {
		table[i] = sample(byte(i))
	}
	return &table
}

// muLawSample decodes a byte of mu-law. All bits are inverted. The bits are a sign,
// three bits of exponent and four bits of mantissa. The magnitude has 14 bits and a
// bias of 33.
func muLawSample(b byte) int64 {
	b = ^b
	magnitude := (int64(b&0x0F)<<1+33)<<(b>>4&7) - 33
	if b&0x80 != 0 {
		magnitude = -magnitude
	}
	return magnitude << 2
}

// aLawSample decodes a byte of A-law. Every second bit is inverted. The bits are a
// sign, three bits of exponent and four bits of mantissa. The magnitude has 13 bits.
// The steps of the two lowest exponents are the same.
func aLawSample(b byte) int64 {
	b ^= 0x55
	magnitude := int64(b&0x0F)<<1 + 1
	if exponent := b >> 4 & 7; exponent > 0 {
		magnitude = (magnitude + 32) << (exponent - 1)
	}
	if b&0x80 == 0 {
		magnitude = -magnitude
	}
	return magnitude << 3
}
