# Towns by lakes, made up for these tests.
Creator "by hand"
graph [
  label "Lakes"
  Network "Seenetz"
  directed 0
  node [ id 0 label "Zürich" Country "Schweiz" Latitude 47.37 Longitude 8.54 ]
  node [ id 1 label "K&ouml;nstanz" Latitude 47.66 Longitude 9.18 ]
  node [ id 2 label "Évian-les-Bains" Latitude 46.40 Longitude 6.59 ]
  node [ id 3 label "NO" graphics [ x 1 y 2 fill "]" ] ]
  node [ id 4 label "?" Latitude 46.0 Longitude 8.95 Internal 0 ]
  node [ id 5 label "Zurich" Latitude 47.0 Longitude 8.5 ]
  node [ id 6 label "Far away" ]
  node [ id 5 label "Twice" ]
  edge [ source 0 target 1 LinkLabel "10 Gbps" LinkSpeedRaw 10000000000.0 ]
  edge [ source 1 target 2 LinkLabel "155 Mbps" LinkSpeedRaw 155520000.0 ]
  edge [ source 2 target 0 LinkSpeedRaw 1.0 ]
  edge [ source 2 target 3 ]
  edge [ source 3 target 4 ]
  edge [ source 4 target 5 ]
  edge [ source 5 target 4 ]
  edge [ source 5 target 0 ]
  edge [ source 5 target 5 ]
  edge [ source 5 target 77 ]
]
