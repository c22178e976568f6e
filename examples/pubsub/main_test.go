package main

func Example() {
	main()
	// Output:
	// audit saw 10 of 10
	// billing, both members together, saw 10
	// slow saw 3 and was told what is missing
}
